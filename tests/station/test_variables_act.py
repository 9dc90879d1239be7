"""What the CSMS sets takes effect: for each variable that can be set, what the station does without it and with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from core_player import Player
from message_lines import lines_of

from cpsim_kit.station.device_model.device_model import model
from cpsim_kit.station.device_model.variable import Address
from cpsim_kit.station.rules.authorization import TokenInfo
from cpsim_kit.station.rules.events import Accepted, Failure, Offline, Online, PowerOff


@dataclass(frozen=True)
class Effect:
    """A value that the CSMS sets, and what it changes.

    Attributes:
        name: The variable.
        value: What the CSMS sets.
        before: Acts before that.
        after: Acts after that.
        without: What is said after it where nothing was set, in the words of ``lines_of``, without seqNo and status.
        with_it: What is said where it was set.
        given: Variables that the station has from its start.
        tokens: What the CSMS says of tokens.
        in_transaction: What it says of them in a transaction.
    """

    name: str
    value: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    without: list[str]
    with_it: list[str]
    given: dict[str, object] | None = None
    tokens: dict[str, TokenInfo] | None = None
    in_transaction: dict[str, TokenInfo] | None = None


REFUSED = {"TAG-1": TokenInfo("Blocked")}
CHARGING = ("plug", "swipe TAG-1", "wait 1")


def put(player: Player, name: str, value: str) -> str:
    """Let the CSMS set a variable; the status."""
    address = Address.parse(name)
    variable = {"name": address.variable, **({"instance": address.instance} if address.instance else {})}
    data = {"component": {"name": address.component}, "variable": variable, "attribute_value": value}
    answer, _ = player.command("SetVariables", set_variable_data=[data])
    return str(answer.set_variable_result[0]["attribute_status"])


def brief(lines: list[str]) -> list[str]:
    """Without the sequence numbers, and without what tells of a connector's status."""
    words = [line.split() for line in lines if not line.startswith("status")]
    return [" ".join([line[0], *line[2:]] if line[0] in {"Started", "Updated", "Ended"} else line) for line in words]


def play(effect: Effect, *, is_set: bool) -> list[str]:
    player = Player(variables=effect.given, tokens=effect.tokens, in_transaction=effect.in_transaction)
    for act in effect.before:
        player.act(act)
    if is_set:
        assert put(player, effect.name, effect.value) == "Accepted"
    before = len(player.said)
    for act in effect.after:
        player.act(act)
    return brief(lines_of(player.said[before:]))


STARTED = "Started Authorized EVConnected TAG-1 evse 1 32 A Begin:1"
CHARGES = "Updated ChargingStateChanged Charging 3 phases"
SUSPENDS = "Updated ChargingStateChanged SuspendedEVSE"
SAMPLE = "Updated MeterValuePeriodic Periodic:9"
ENDED = "Ended EVCommunicationLost Idle EVDisconnected Begin:1"
KNOWN = ("swipe TAG-1", "swipe TAG-1")  # the cache knows the token then

EFFECTS = [
    Effect(
        "TxCtrlr.TxStartPoint",
        "EVConnected",
        (),
        ("plug",),
        [],
        ["Started CablePluggedIn EVConnected evse 1 32 A Begin:1"],
    ),
    Effect(
        "TxCtrlr.TxStopPoint",
        "EVConnected",
        CHARGING,
        ("swipe TAG-1",),
        ["Ended StopAuthorized EVConnected Local TAG-1 Begin:1 End:1"],
        ["Updated StopAuthorized TAG-1", "Updated ChargingStateChanged EVConnected"],
    ),
    Effect(
        "TxCtrlr.EVConnectionTimeOut",
        "100",
        ("swipe TAG-1", "wait 50"),  # who waits already waits longer
        ("wait 40", "plug"),
        [],
        ["Started CablePluggedIn EVConnected TAG-1 evse 1 32 A Begin:1", CHARGES],
    ),
    Effect(
        "TxCtrlr.StopTxOnEVSideDisconnect",
        "false",
        CHARGING,
        ("unplug ev",),
        [f"{ENDED} End:1"],
        ["Updated EVCommunicationLost Idle"],
        {"TxCtrlr.TxStopPoint": "Authorized"},
    ),
    Effect(
        "TxCtrlr.StopTxOnInvalidId",
        "false",
        (),
        ("plug", "swipe TAG-1"),
        ["authorize TAG-1", STARTED, CHARGES, "Ended Deauthorized EVConnected DeAuthorized Begin:1 End:1"],
        ["authorize TAG-1", STARTED, CHARGES, SUSPENDS],
        in_transaction=REFUSED,
    ),
    Effect(
        "TxCtrlr.MaxEnergyOnInvalidId",
        "500",
        (),
        ("plug", "swipe TAG-1", "wait 1"),
        ["authorize TAG-1", STARTED, CHARGES, SUSPENDS],
        ["authorize TAG-1", STARTED, CHARGES],
        {"TxCtrlr.StopTxOnInvalidId": False},
        in_transaction=REFUSED,
    ),
    Effect(
        "SampledDataCtrlr.Enabled",
        "false",
        CHARGING,
        ("wait 60", "unplug"),
        [SAMPLE, f"{ENDED} End:1"],
        [ENDED],
    ),
    Effect(
        "SampledDataCtrlr.TxStartedMeasurands",
        "Voltage,Energy.Active.Import.Register",
        (),
        ("plug", "swipe TAG-1"),
        ["authorize TAG-1", STARTED, CHARGES],
        ["authorize TAG-1", STARTED.replace("Begin:1", "Begin:4"), CHARGES],
    ),
    Effect(
        "SampledDataCtrlr.TxUpdatedMeasurands",
        "Voltage",
        CHARGING,
        ("wait 60",),
        [SAMPLE],
        ["Updated MeterValuePeriodic Periodic:3"],
    ),
    Effect("SampledDataCtrlr.TxUpdatedInterval", "20", CHARGING, ("wait 60",), [SAMPLE], [SAMPLE] * 3),
    Effect(
        "SampledDataCtrlr.TxEndedMeasurands",
        "Voltage",
        CHARGING,
        ("wait 10", "unplug"),
        [f"{ENDED} End:1"],
        [f"{ENDED} End:3"],
    ),
    Effect(
        "SampledDataCtrlr.TxEndedInterval",
        "20",
        CHARGING,
        ("wait 50", "unplug"),
        [f"{ENDED} End:1"],
        [f"{ENDED} Periodic:1 Periodic:1 End:1"],
    ),
    Effect(
        "AlignedDataCtrlr.Enabled",
        "false",
        (),
        ("wait 900",),
        ["meter 0 Clock:1", "meter 1 Clock:1"],
        [],
        {"AlignedDataCtrlr.Interval": 900},
    ),
    Effect("AlignedDataCtrlr.Interval", "900", (), ("wait 900",), [], ["meter 0 Clock:1", "meter 1 Clock:1"]),
    Effect(
        "AlignedDataCtrlr.Measurands",
        "Voltage",
        (),
        ("wait 900",),
        ["meter 0 Clock:1", "meter 1 Clock:1"],
        ["meter 1 Clock:3"],
        {"AlignedDataCtrlr.Interval": 900},
    ),
    Effect(
        "AlignedDataCtrlr.TxEndedInterval",
        "20",
        CHARGING,
        ("wait 50", "unplug"),
        [f"{ENDED} End:1"],
        [f"{ENDED} Clock:3 Clock:3 End:1"],
        {"AlignedDataCtrlr.TxEndedMeasurands": "Voltage"},
    ),
    Effect(
        "AlignedDataCtrlr.TxEndedMeasurands",
        "Voltage",
        CHARGING,
        ("wait 50", "unplug"),
        [f"{ENDED} End:1"],
        [f"{ENDED} Clock:3 Clock:3 End:1"],
        {"AlignedDataCtrlr.TxEndedInterval": 20},
    ),
    Effect(
        "AlignedDataCtrlr.SendDuringIdle",
        "true",
        CHARGING,
        ("wait 50",),
        ["meter 0 Clock:1", "Updated MeterValueClock Clock:1"],
        [],
        {"AlignedDataCtrlr.Interval": 40},
    ),
    Effect("AuthCtrlr.LocalPreAuthorize", "true", KNOWN, ("swipe TAG-1",), ["authorize TAG-1"], []),
    Effect(
        "AuthCtrlr.AuthorizeRemoteStart",
        "true",
        ("plug",),
        ("remote start TAG-1 1",),
        ["Started RemoteStart EVConnected remote 5 TAG-1 evse 1 32 A Begin:1", CHARGES],
        ["authorize TAG-1", "Started RemoteStart EVConnected remote 5 TAG-1 evse 1 32 A Begin:1", CHARGES],
    ),
    Effect(
        "AuthCtrlr.LocalAuthorizeOffline",
        "false",
        (*KNOWN, "plug"),
        ("offline", "swipe TAG-1", "online"),
        [STARTED, CHARGES],
        [],
    ),
    Effect(
        "AuthCtrlr.OfflineTxForUnknownIdEnabled",
        "true",
        ("plug",),
        ("offline", "swipe TAG-1", "online"),
        [],
        [STARTED, CHARGES],
    ),
    Effect(
        "AuthCacheCtrlr.Enabled",
        "false",
        KNOWN,
        ("swipe TAG-1",),
        [],
        ["authorize TAG-1"],
        {"AuthCtrlr.LocalPreAuthorize": True},
    ),
    Effect(
        "AuthCacheCtrlr.LifeTime",
        "10",
        (),
        (*KNOWN, "wait 20", "swipe TAG-1"),
        ["authorize TAG-1"],
        ["authorize TAG-1", "authorize TAG-1"],
        {"AuthCtrlr.LocalPreAuthorize": True},
    ),
]

# Those with a test of their own: below, or on a real connection.
ELSEWHERE = {
    "LocalAuthListCtrlr.Enabled": "test_the_local_list_can_be_turned_off",
    "OCPPCommCtrlr.OfflineThreshold": "test_offline_threshold",
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "test_attempts_of_a_transaction_message",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "test_attempts_of_a_transaction_message",
    "OCPPCommCtrlr.NetworkConfigurationPriority": "test_network_configuration_priority_counts_from_the_next_start_on",
    "OCPPCommCtrlr.NetworkProfileConnectionAttempts": "test_attempts_to_connect_before_the_next_network_connection",
    "OCPPCommCtrlr.UnlockOnEVSideDisconnect": "test_a_cable_stays_locked_until_somebody_is_authorized",
    "OCPPCommCtrlr.HeartbeatInterval": "test_station_waits.py",
    "OCPPCommCtrlr.WebSocketPingInterval": "test_variables_on_the_wire.py",
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "test_variables_on_the_wire.py",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "test_variables_on_the_wire.py",
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": "test_variables_on_the_wire.py",
    "SecurityCtrlr.BasicAuthPassword": "test_variables_on_the_wire.py",
    "ReservationCtrlr.Enabled": "the tests of reservations",
    "SmartChargingCtrlr.ExternalControlSignalsEnabled": "test_limits_from_outside.py",
    "SmartChargingCtrlr.LimitChangeSignificance": "test_limits_from_outside.py",
    "SmartChargingCtrlr.NotifyChargingLimitWithSchedules": "test_limits_from_outside.py",
    "ChargingStation.AllowNewSessionsPendingFirmwareUpdate": "the tests of firmware",
}
# Those that change nothing, and why.
WITHOUT_EFFECT = {
    "SecurityCtrlr.OrganizationName": "it stands in the certificates that the station would ask for",
    "ClockCtrlr.TimeSource": "there is one source only",
    "OCPPCommCtrlr.ResetRetries": "a reset of a simulated station does not fail",
}


def test_each_variable_that_can_be_set_has_a_test_of_its_effect() -> None:
    can_be_set = {name for name, variable in model(1).items() if variable.mutability != "ReadOnly"}
    assert can_be_set == {effect.name for effect in EFFECTS} | ELSEWHERE.keys() | WITHOUT_EFFECT.keys()
    for name, test in ELSEWHERE.items():
        assert test in globals() or test.endswith(".py") or " " in test, name


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.name)
def test_what_is_set_takes_effect_at_once(effect: Effect) -> None:
    assert effect.without != effect.with_it
    assert play(effect, is_set=False) == effect.without
    assert play(effect, is_set=True) == effect.with_it


def test_the_local_list_can_be_turned_off() -> None:
    entry = {"id_token": {"id_token": "TAG-1", "type": "ISO14443"}, "id_token_info": {"status": "Accepted"}}
    for value, asks in (("true", False), ("false", True)):
        player = Player(variables={"AuthCtrlr.LocalPreAuthorize": True})
        player.command("SendLocalList", version_number=1, update_type="Full", local_authorization_list=[entry])
        assert put(player, "LocalAuthListCtrlr.Enabled", value) == "Accepted"
        assert ("Authorize" in [action for action, _ in player.act("swipe TAG-1")]) == asks


def test_offline_threshold() -> None:
    for value, said in (("60", []), ("10", ["status 1 Available"])):
        player = Player()
        put(player, "OCPPCommCtrlr.OfflineThreshold", value)
        player.do(Offline())
        player.wait(30)
        assert lines_of(player.do(Online())) == said


@pytest.mark.parametrize(
    ("variable", "value", "moments"),
    [
        (None, "", [0, 10, 30]),
        ("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "2", [0, 10]),
        ("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "60", [0, 60, 180]),
    ],
)
def test_attempts_of_a_transaction_message(variable: str | None, value: str, moments: list[int]) -> None:
    player = Player(variables={"TxCtrlr.TxStartPoint": "EVConnected", "SampledDataCtrlr.TxUpdatedInterval": 0})
    sent: list[float] = []

    def fail(message: Any, said: Any) -> Any:
        if said[0] != "TransactionEvent":
            return player.answer(message, said)
        sent.append(player.now)
        return Failure(message)

    player.answers = fail
    player.act("plug")
    if variable is not None:
        assert put(player, variable, value) == "Accepted"  # while it waits for the second attempt
    player.wait(1000)
    if variable is None or "Attempts" in variable:
        assert sent == moments
    else:  # the wait that goes on is as it was
        assert sent == [0, 10, 130]


def test_network_configuration_priority_counts_from_the_next_start_on() -> None:
    player = Player()
    active = "OCPPCommCtrlr.ActiveNetworkProfile"
    assert player.core.variables[active] == 1
    assert put(player, "OCPPCommCtrlr.NetworkConfigurationPriority", "2,1") == "RebootRequired"
    assert player.core.variables[active] == 1
    player.do(Offline())
    player.do(Online())
    assert player.core.variables[active] == 1
    player.do(PowerOff())
    player.do(Accepted())
    assert player.core.variables[active] == 2


def test_attempts_to_connect_before_the_next_network_connection() -> None:
    player = Player()
    active = "OCPPCommCtrlr.ActiveNetworkProfile"
    assert put(player, "OCPPCommCtrlr.NetworkProfileConnectionAttempts", "2") == "Accepted"
    player.do(Offline())
    used = []
    for _ in range(5):
        player.core.connecting_failed()
        used.append(player.core.variables[active])
    assert used == [1, 2, 2, 1, 1]


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_a_cable_stays_locked_until_somebody_is_authorized(version: str, stops: bool) -> None:
    """E09.FR.02, .03, E10.FR.01; OCPP 1.6, 9.1.33."""
    stop = "StopTransactionOnEVSideDisconnect" if version == "1.6" else "TxCtrlr.StopTxOnEVSideDisconnect"
    key = "UnlockConnectorOnEVSideDisconnect" if version == "1.6" else "OCPPCommCtrlr.UnlockOnEVSideDisconnect"
    for unlocks in (True, False):
        player = Player(version, variables={stop: stops})
        for act in CHARGING:
            player.act(act)
        if not unlocks and version == "1.6":
            answer, _ = player.command("ChangeConfiguration", key=key, value="false")
            assert answer.status == "Accepted"
        elif not unlocks:
            assert put(player, key, "false") == "Accepted"
        player.act("unplug ev")
        if not unlocks:
            with pytest.raises(ValueError, match="the cable is locked in the socket of EVSE 1"):
                player.act("unplug")
            player.act("swipe TAG-1")
        player.act("unplug")
        assert not player.core.evses[1].has_dangling_cable


def test_the_csms_unlocks_a_cable_that_stays_locked() -> None:
    player = Player(variables={"OCPPCommCtrlr.UnlockOnEVSideDisconnect": False})
    for act in (*CHARGING, "unplug ev"):
        player.act(act)
    answer, _ = player.command("UnlockConnector", evse_id=1, connector_id=1)
    assert answer.status == "Unlocked"
    player.act("unplug")
    assert not player.core.evses[1].has_dangling_cable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OCPPCommCtrlr.OfflineThreshold", "5"),
        ("SampledDataCtrlr.TxEndedMeasurands", "Energy.Active.Import.Register"),
        ("SampledDataCtrlr.TxUpdatedInterval", "60"),  # as before
        ("SampledDataCtrlr.TxEndedInterval", "30"),
    ],
)
def test_an_interval_goes_on_when_something_else_is_set(name: str, value: str) -> None:
    player = Player()
    for act in (*CHARGING, "wait 40"):
        player.act(act)
    assert put(player, name, value) == "Accepted"
    assert brief(lines_of(player.act("wait 20"))) == [SAMPLE]


def test_the_interval_of_the_last_message_goes_on_when_the_other_one_is_set() -> None:
    player = Player(variables={"SampledDataCtrlr.TxEndedInterval": 30})
    for act in ("plug", "swipe TAG-1", "wait 20"):
        player.act(act)
    assert put(player, "SampledDataCtrlr.TxUpdatedInterval", "7") == "Accepted"
    player.act("wait 45")
    (_, ended), *_ = [said for said in player.act("unplug") if said[0] == "TransactionEvent"]
    begin, *between, end = [datetime.fromisoformat(each["timestamp"]) for each in ended["meterValue"]]
    assert [(each - begin).total_seconds() for each in (*between, end)] == [30, 60, 65]


def test_a_shorter_wait_ends_at_once_where_it_has_passed() -> None:
    player = Player()
    player.act("swipe TAG-1")
    player.act("wait 30")
    assert put(player, "TxCtrlr.EVConnectionTimeOut", "10") == "Accepted"
    player.wait(0)
    assert player.core.evses[1].authorization is None


def test_a_wait_for_ever_gets_an_end() -> None:
    player = Player(variables={"TxCtrlr.EVConnectionTimeOut": 0})
    player.act("swipe TAG-1")
    player.wait(1e6)
    assert player.core.evses[1].authorization is not None
    assert put(player, "TxCtrlr.EVConnectionTimeOut", "10") == "Accepted"
    player.wait(10)
    assert player.core.evses[1].authorization is None


def test_what_was_set_outlives_a_power_loss() -> None:
    player = Player()
    put(player, "OCPPCommCtrlr.OfflineThreshold", "5")
    player.do(PowerOff())
    player.do(Accepted())
    assert player.core.variables["OCPPCommCtrlr.OfflineThreshold"] == 5
