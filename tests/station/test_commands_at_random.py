"""Commands, people, faults and power losses in any order: what is true of a station whatever has happened.

Afterwards it is put right again, and each of its EVSEs charges.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pytest
from core_player import Player
from maintenance_player import update_fields
from ocpp.exceptions import OCPPError
from station_wire import VERSIONS

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.events import TICK, Accepted, ClearFault, Offline, Online, PowerOff, ShutDown, SuspendEvse
from cpsim_kit.station.rules.memory import recall, remember

SEEDS = range(30)
STEPS = 60
EVSES = (1, 2)
TOKENS = ("TAG-1", "TAG-2", "TAG-3")


class Life:
    """A station to which anything happens.

    Args:
        version: The OCPP version.
        seed: Of what happens.
    """

    def __init__(self, version: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.player = Player(version, [Evse(), Evse()])
        self.is_16 = version == "1.6"

    def step(self) -> None:
        """Something happens."""
        core = self.player.core
        match self.random.choice(["command"] * 5 + ["act"] * 4 + ["power", "network"] + ["wait"] * 2):
            case "command" if core.is_accepted and core.queue.is_online:
                action, fields = self.random.choice(self.commands())
                with suppress(OCPPError):  # e.g. an update while firmware is installed
                    self.player.command(action, **fields)
            case "act":
                with suppress(ValueError):  # physically impossible now
                    self.player.act(self.random.choice(self.acts()))
            case "power":
                self.player.do(PowerOff())
                if self.random.random() < 0.3:
                    self.load()
                self.wait(self.random.choice((0, 10, 1000)))
                self.player.do(Accepted())
            case "network" if core.is_accepted:
                self.player.do(Offline() if core.queue.is_online else Online())
            case "wait":
                self.wait(self.random.choice((1, 6, 20, 100, 700)))
        self.restart()

    def acts(self) -> list[str]:
        number, token = self.random.choice(EVSES), self.random.choice(TOKENS)
        faults = [f"fault {name} {number}" for name in ("GroundFault", "ConnectorLockFailure")]
        people = [f"plug {number}", f"swipe {token} {number}", f"swipe {token}", f"unplug {number}", "unplug ev"]
        return [*people, *people, *faults, "clear fault", "suspend ev", "suspend evse", "resume evse"]

    def commands(self) -> list[tuple[str, dict[str, Any]]]:
        player, choose = self.player, self.random.choice
        number, token, status = choose(EVSES), choose(TOKENS), choose(("Operative", "Inoperative"))
        until = player.core.dialect.time(player.now + choose((30, 300, 3000)))
        kind = player.core.dialect.version.name
        update = update_fields(player, kind, retrieve_in=choose((-10, 100, 1000)), retries=choose((0, 2)))
        if self.is_16:
            return [
                ("ChangeAvailability", {"type": status, "connector_id": choose((0, *EVSES))}),
                ("Reset", {"type": "Hard"}),
                ("UnlockConnector", {"connector_id": number}),
                ("ReserveNow", {"connector_id": number, "expiry_date": until, "id_tag": token, "reservation_id": 7}),
                ("CancelReservation", {"reservation_id": 7}),
                ("TriggerMessage", {"requested_message": "StatusNotification"}),
                ("RemoteStartTransaction", {"id_tag": token, "connector_id": number}),
                update,
            ]
        id_token, evse = {"id_token": token, "type": "ISO14443"}, choose(({}, {"evse": {"id": number}}))
        reset = {"type": choose(("Immediate", "OnIdle")), **choose(({}, {"evse_id": number}))}
        return [
            ("ChangeAvailability", {"operational_status": status, **evse}),
            ("Reset", reset),
            ("UnlockConnector", {"evse_id": number, "connector_id": 1}),
            ("ReserveNow", {"id": 7, "expiry_date_time": until, "id_token": id_token, "evse_id": number}),
            ("CancelReservation", {"reservation_id": 7}),
            ("TriggerMessage", {"requested_message": "TransactionEvent"}),
            ("RequestStartTransaction", {"id_token": id_token, "remote_start_id": 1, "evse_id": number}),
            ("GetBaseReport", {"request_id": 1, "report_base": "SummaryInventory"}),
            update,
        ]

    def load(self) -> None:
        """Go on with another station that remembers what this one does."""
        before = self.player
        self.player = Player(before.core.dialect.version.name, [Evse(), Evse()], is_started=False)
        recall(self.player.core, json.loads(json.dumps(remember(before.core, before.now))))
        self.player.now, self.player.said, self.player._numbers = before.now, before.said, before._numbers
        self.player.core._reporter._random = self.random  # other ids than before

    def wait(self, seconds: float) -> None:
        """Let time pass; resets are driven as the driver does it."""
        player, end = self.player, self.player.now + seconds
        self.restart()
        while (due := player.core.due()) <= end:
            assert due >= player.now, "something was due in the past"
            player.now = due
            player.core.handle(TICK, due)
            player.drain()
            self.restart()
        player.now = end

    def restart(self) -> None:
        restarts = self.player.core.restarts
        for _ in range(2):  # a transaction that has just begun ends first
            if restarts.is_ready(self.player.now):
                self.player.do(ShutDown())
            self.player.drain()
        if restarts.step == "boots":
            self.player.do(Accepted(restarts.boot_reason))

    def check(self) -> None:
        """What is true at any moment."""
        core, now = self.player.core, self.player.now
        assert core.due() >= now
        for evse in core.evses.values():
            if evse.authorization is None or not evse.is_usable or not core.has_power:
                assert evse.power_kw(now) == 0
            if core.is_accepted and core.queue.is_online:
                assert evse.reported_status == core.dialect.connector_status(evse)
            if evse.session is None:
                assert (evse.vehicle, evse.authorization, evse.transaction) == (None, None, None)

    def put_right(self) -> None:
        """Repair it, empty it, and put all of it into service."""
        player, core = self.player, self.player.core
        if not core.is_accepted:
            self.player.do(Accepted())
        if not core.queue.is_online:
            self.player.do(Online())
        for number, evse in core.evses.items():
            player.do(SuspendEvse(False, number))
            if evse.fault:
                player.do(ClearFault(number))
            if evse.vehicle is not None or evse.has_dangling_cable:
                player.act(f"unplug {number}")
        places: list[dict[str, Any]] = [{}, *({"evse": {"id": number}} for number in EVSES)]
        for place in places:
            fields = {"operational_status": "Operative", **place}
            player.command("ChangeAvailability", **({"type": "Operative", "connector_id": 0} if self.is_16 else fields))
        self.wait(8000)  # reservations expire, and firmware is installed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_whatever_happens_the_station_charges_afterwards(version: str, seed: int) -> None:
    life = Life(version, seed)
    for _ in range(STEPS):
        life.step()
        life.check()
    life.put_right()
    life.check()
    for number in EVSES:
        life.player.act(f"plug {number}")
        life.player.act(f"swipe TAG-9{number} {number}")
        assert life.player.core.evses[number].power_kw(life.player.now) > 0
    numbers = defaultdict(list)
    for action, payload in life.player.said:
        if action == "TransactionEvent":
            numbers[payload["transactionInfo"]["transactionId"]].append(payload["seqNo"])
    assert all(each == list(range(len(each))) for each in numbers.values())
