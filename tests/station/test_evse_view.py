"""An EVSE as a reader sees it."""

from __future__ import annotations

from typing import Any

import pytest
from core_player import Player

from cpsim_kit import Evse, Vehicle
from cpsim_kit.station import EvseView
from cpsim_kit.station.rules.authorization import IdToken
from cpsim_kit.station.rules.events import Event, Fault, PlugIn, SuspendEv, SuspendEvse, Swipe, Unplug

TOKEN = IdToken("TAG-1")


def view(player: Player) -> EvseView:
    return EvseView(player.core.evses[1], lambda: player.now)


def charging(version: str = "2.0.1") -> Player:
    player = Player(version, evses=[Evse(22, register_kwh=10)])
    player.do(PlugIn(Vehicle(capacity_kwh=50, soc=0.2, max_kw=10)))
    player.do(Swipe(player.core.dialect.token("TAG-1", "ISO14443")))
    return player


def test_an_idle_evse() -> None:
    seen = view(Player(evses=[Evse(22, register_kwh=10)]))
    assert (seen.state, seen.connector_status) == ("Idle", "Available")
    assert (seen.demand_kw, seen.limit_kw, seen.offered_kw, seen.power_kw) == (0, 22, 0, 0)
    assert (seen.energy_kwh, seen.session_kwh) == (10, 0)
    assert (seen.soc, seen.vehicle, seen.transaction, seen.session) == (None, None, None, None)
    assert repr(seen) == "<EVSE 1 Available, Idle>"


def test_a_vehicle_that_charges() -> None:
    player = charging()
    seen = view(player)
    player.wait(1800)
    assert (seen.state, seen.connector_status) == ("Charging", "Occupied")
    assert (seen.demand_kw, seen.limit_kw, seen.offered_kw, seen.power_kw) == pytest.approx((10, 22, 22, 10))
    assert (seen.energy_kwh, seen.session_kwh, seen.soc) == pytest.approx((15, 5, 0.3))
    evse = player.core.evses[1]
    assert seen.vehicle is evse.vehicle is not None
    assert seen.transaction is evse.transaction is not None
    assert seen.session is evse.session is not None
    assert repr(seen) == "<EVSE 1 Occupied, Charging, 10.00 kW, 5.000 kWh, SoC 30.0%>"


def test_it_shows_this_moment_and_changes_nothing() -> None:
    player = charging()
    seen = view(player)
    energies = []
    for _ in range(5):
        player.now += 360
        energies.append(seen.session_kwh)
    assert energies == pytest.approx([1, 2, 3, 4, 5])
    assert len(player.core.sessions[0].rows) == len(charging().core.sessions[0].rows)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (SuspendEv(True), "Occupied, SuspendedEV, 2.500 kWh, SoC 25.0%"),
        (SuspendEvse(True), "Occupied, SuspendedEVSE, 2.500 kWh, SoC 25.0%"),
        (Fault("GroundFault"), "Faulted, GroundFault, 2.500 kWh, SoC 25.0%"),
        (Swipe(TOKEN), "Occupied, EVConnected, 2.500 kWh, SoC 25.0%"),
        (Unplug(), "Available, Idle"),
    ],
)
def test_one_line_for_each_state(event: Event, text: str) -> None:
    player = charging()
    player.wait(900)
    player.do(event)
    assert view(player).describe() == text


def test_a_word_that_is_status_and_state_is_said_once() -> None:
    assert view(charging("1.6")).describe() == "Charging, 10.00 kW, 0.000 kWh, SoC 20.0%"


def test_before_the_first_report_there_is_no_status() -> None:
    seen = view(Player(is_started=False))
    assert (seen.connector_status, repr(seen)) == ("", "<EVSE 1 Idle>")


@pytest.mark.parametrize(("version", "status"), [("1.6", "SuspendedEV"), ("2.0.1", "Occupied"), ("2.1", "Occupied")])
def test_the_status_is_the_versions_word_and_the_state_is_not(version: str, status: str) -> None:
    player = charging(version)
    player.do(SuspendEv(True))
    assert (view(player).connector_status, view(player).state) == (status, "SuspendedEV")


def test_a_fault_takes_the_place_of_the_state() -> None:
    player = charging()
    player.do(Fault("HighTemperature"))
    assert view(player).state == "HighTemperature"


def test_card_shows_the_four_powers_and_what_there_is() -> None:
    player = charging()
    player.wait(1800)
    card = view(player)._repr_html_()
    transaction: Any = player.core.evses[1].transaction
    for text in ("EVSE 1", "Occupied", "Charging", "10.00 kW", "22.00 kW", "15.000 kWh", "30.0%", transaction.id):
        assert text in card
    for name in ("demand", "limit", "offered", "delivered"):
        assert f">{name}<" in card
    idle = view(Player())._repr_html_()
    for name in ("state of charge", "transaction"):
        assert f">{name}<" in card
        assert f">{name}<" not in idle
