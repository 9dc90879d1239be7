"""The core as a whole: what holds for any acts and answers, meter values, commands, and a week of sessions."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections import defaultdict
from datetime import datetime
from typing import Any, Literal

import pytest
from core_player import EPOCH, Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from message_lines import lines_of
from strict_v16 import MOVES

from cpsim_kit.station import Evse, Vehicle
from cpsim_kit.station.rules.authorization import IdToken, TokenInfo
from cpsim_kit.station.rules.events import (
    Answer,
    Event,
    Failure,
    Outgoing,
    PlugIn,
    RemoteStart,
    Swipe,
    Unplug,
    VariablesChanged,
)

ACTS = [
    "plug 1",
    "plug 2",
    "swipe TAG-1 1",
    "swipe TAG-1 2",
    "swipe TAG-1",
    "swipe TAG-1B",
    "swipe TAG-9 2",
    "swipe TAG-BLOCKED 1",
    "swipe TAG-LATER 1",
    "unplug 1",
    "unplug 2",
    "suspend ev",
    "resume ev",
    "fault GroundFault 1",
    "clear fault",
    "remote start TAG-9",
    "remote start TAG-1 2",
    "remote stop",
    "wait 7",
    "wait 61",
    "wait 4000",
]
TOKENS = {
    "TAG-1": TokenInfo("Accepted", "GROUP"),
    "TAG-1B": TokenInfo("Accepted", "GROUP"),
    "TAG-BLOCKED": TokenInfo("Blocked"),
}
POINTS = st.sets(st.sampled_from(["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer"]), min_size=1)


def play(player: Player, acts: list[str]) -> None:
    for act in acts:
        with contextlib.suppress(ValueError, IndexError):  # it cannot be done, or there was no transaction yet
            player.act(act)


def loses(player: Player, numbers: set[int]) -> None:
    """Let the CSMS leave some messages without an answer."""
    count = itertools.count()

    def answer(message: Outgoing, said: Said) -> Answer | None:
        return None if next(count) in numbers else player.answer(message, said)

    player.answers = answer


@settings(max_examples=400)
@given(
    acts=st.lists(st.sampled_from(ACTS), max_size=25),
    start=POINTS,
    stop=POINTS,
    lost=st.sets(st.integers(0, 40), max_size=4),
    version=st.sampled_from(["2.0.1", "2.1"]),
)
def test_any_acts_and_answers_give_valid_gapless_transactions(
    acts: list[str], start: set[str], stop: set[str], lost: set[int], version: str
) -> None:
    variables = {"TxCtrlr.TxStartPoint": sorted(start), "TxCtrlr.TxStopPoint": sorted(stop)}
    player = Player(version, [Evse(), Evse(50, "DC")], variables, TOKENS, {"TAG-LATER": TokenInfo("Invalid")})
    loses(player, lost)
    play(player, acts)  # Player raises where a message breaks its schema
    events = defaultdict(list)
    for action, payload in player.said:
        if action == "TransactionEvent":
            events[payload["transactionInfo"]["transactionId"]].append(payload)
    for sent in events.values():
        transaction = [event for event, _ in itertools.groupby(sent)]  # the same one may be sent again
        assert [event["seqNo"] for event in transaction] == list(range(len(transaction)))
        kinds = [event["eventType"] for event in transaction]
        assert kinds[0] == "Started"
        assert "Started" not in kinds[1:]
        assert "Ended" not in kinds[:-1]
        assert sum("evse" in event for event in transaction) <= 1
        assert "chargingState" in transaction[0]["transactionInfo"]
        moments = [event["timestamp"] for event in transaction]
        assert moments == sorted(moments)
    require_monotonic_registers(player)
    require_truth(player)


@settings(max_examples=400)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=25), lost=st.sets(st.integers(0, 40), max_size=4))
def test_any_acts_and_answers_give_valid_messages_and_moves_of_ocpp_16(acts: list[str], lost: set[int]) -> None:
    player = Player("1.6", [Evse(), Evse(50, "DC")], None, TOKENS, {"TAG-LATER": TokenInfo("Invalid")})
    loses(player, lost)
    play(player, acts)
    begun = {each.csms_id: round(each.start_wh) for each in player.core.transactions}
    stopped = [payload for action, payload in player.said if action == "StopTransaction"]
    stopped = [payload for payload, _ in itertools.groupby(stopped)]  # sent again
    assert len({payload["transactionId"] for payload in stopped}) == len(stopped)
    assert all(payload["meterStop"] >= begun[payload["transactionId"]] for payload in stopped)
    status = {1: "", 2: ""}
    for action, payload in player.said:
        if action == "StatusNotification" and payload["connectorId"]:
            connector, new = payload["connectorId"], payload["status"]
            assert not status[connector] or new in MOVES[status[connector]], (status[connector], new)
            status[connector] = new
    require_monotonic_registers(player)
    require_truth(player)


def require_monotonic_registers(player: Player) -> None:
    last: dict[Any, float] = defaultdict(float)
    places: dict[Any, int] = {each.id: each.evse_id for each in player.core.transactions}
    for action, payload in player.said:
        if action not in ("TransactionEvent", "MeterValues"):
            continue
        known = payload.get("transactionInfo", payload).get("transactionId", "")
        for reading in payload.get("meterValue", []):
            for value in reading["sampledValue"]:
                if value["measurand"] == "Energy.Active.Import.Register" and value["context"] != "Transaction.Begin":
                    place = places[str(known)]
                    assert float(value["value"]) >= last[place]
                    last[place] = float(value["value"])


def require_truth(player: Player) -> None:
    """No energy without a transaction or between two of them, and what was said is what the meter showed."""
    for evse in player.core.evses.values():
        assert 0 <= evse.power_kw(player.now) <= evse.offered_kw + 1e-9 <= evse.limit_kw + 2e-9
        assert evse.demand_kw(player.now) >= 0
    for transaction in player.core.transactions:
        assert transaction.end is None or math.isnan(transaction.end_wh) or transaction.end_wh >= transaction.start_wh


def test_a_week_of_sessions_keeps_every_watt_hour() -> None:
    player = Player(variables={"SampledDataCtrlr.TxUpdatedInterval": 900})
    for _day in range(7):
        for _session in range(3):
            player.do(PlugIn(Vehicle(60, 0.3)))
            player.do(Swipe(IdToken("TAG-1")))
            player.wait(6 * 3600)
            player.do(Swipe(IdToken("TAG-1")))
            player.wait(600)
            player.do(Unplug())
            player.wait(1.8 * 3600 - 600)
    transactions = player.core.transactions
    assert len(transactions) == 21
    assert [each.start_wh for each in transactions[1:]] == [each.end_wh for each in transactions[:-1]]
    ended = [
        payload for action, payload in player.said if action == "TransactionEvent" and payload["eventType"] == "Ended"
    ]
    said = [
        payload["meterValue"][-1]["sampledValue"][0]["value"] - payload["meterValue"][0]["sampledValue"][0]["value"]
        for payload in ended
    ]
    assert said == [each.end_wh - each.start_wh for each in transactions]
    assert sum(said) == player.core.evses[1].reading_wh(player.now)


# -- Meter values -----------------------------------------------------------------------------------------------------


def charging(version: str = "2.0.1", **variables: object) -> Player:
    player = Player(version, variables={name.replace("__", "."): value for name, value in variables.items()})
    player.act("plug")
    player.act("swipe TAG-1")
    return player


def contexts(player: Player, words: str) -> list[str]:
    return lines_of(player.act(words))


def test_meter_values_come_at_the_interval_from_the_start_of_the_transaction() -> None:
    player = charging(SampledDataCtrlr__TxUpdatedInterval=10)
    stamps = [payload["timestamp"][-10:] for _, payload in player.act("wait 35")]
    assert stamps == ["00:10.000Z", "00:20.000Z", "00:30.000Z"]


def test_an_interval_of_0_sends_none() -> None:
    assert charging(SampledDataCtrlr__TxUpdatedInterval=0).act("wait 3600") == []


def test_a_changed_interval_takes_effect_at_once() -> None:
    player = charging()
    player.act("wait 30")
    player.core.variables.set("SampledDataCtrlr.TxUpdatedInterval", 5)
    player.do(VariablesChanged())
    assert len(player.act("wait 10")) == 2


def test_the_last_message_has_the_values_in_between_if_asked_for() -> None:
    player = charging(SampledDataCtrlr__TxUpdatedInterval=0, SampledDataCtrlr__TxEndedInterval=60)
    assert player.act("wait 130") == []
    assert contexts(player, "swipe TAG-1") == [
        "Ended 2 StopAuthorized EVConnected Local TAG-1 Begin:1 Periodic:1 Periodic:1 End:1"
    ]


def test_the_last_message_has_no_values_if_no_measurands_are_asked_for() -> None:
    player = charging(SampledDataCtrlr__TxEndedMeasurands="")
    assert contexts(player, "swipe TAG-1") == ["Ended 2 StopAuthorized EVConnected Local TAG-1"]


EVERYTHING = "Energy.Active.Import.Register,Power.Active.Import,Current.Import,Current.Offered,Voltage,SoC"


@pytest.mark.parametrize(
    ("version", "variables"),
    [
        ("1.6", {}),
        ("1.6", {"StopTxnSampledData": EVERYTHING, "MeterValueSampleInterval": 10}),
        ("2.0.1", {"SampledDataCtrlr__TxEndedInterval": 10}),
        (
            "2.0.1",
            {"SampledDataCtrlr__TxEndedInterval": 10, "SampledDataCtrlr__TxEndedMeasurands": EVERYTHING},
        ),
    ],
)
def test_the_last_message_of_a_long_session_fits_into_a_message(version: str, variables: dict[str, Any]) -> None:
    player = charging(version, **variables)
    player.act("wait 60000")
    (_action, payload), *_ = player.act("swipe TAG-1")
    assert 20_000 < len(json.dumps(payload)) < 128 * 1024
    readings = payload["transactionData" if version == "1.6" else "meterValue"]
    assert readings[0]["sampledValue"][0]["context"] == "Transaction.Begin"
    assert readings[-1]["sampledValue"][0]["context"] == "Transaction.End"
    moments = [datetime.fromisoformat(reading["timestamp"]) for reading in readings]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments[:-1])]
    assert min(gaps) > 0
    assert max(gaps) <= 4 * sum(gaps) / len(gaps)  # all hours of the session are in it


def test_clock_aligned_values_come_at_multiples_since_midnight_in_and_out_of_a_transaction() -> None:
    player = Player(variables={"AlignedDataCtrlr.Interval": 900, "SampledDataCtrlr.TxUpdatedInterval": 0})
    player.act("wait 100")  # the station started at 08:00:00
    assert lines_of(player.act("wait 800")) == ["meter 0 Clock:1", "meter 1 Clock:1"]
    assert player.said[-1][1]["meterValue"][0]["timestamp"] == "2027-01-15T08:15:00.000Z"
    player.act("plug")
    player.act("swipe TAG-1")
    assert lines_of(player.act("wait 900")) == ["meter 0 Clock:1", "Updated 2 MeterValueClock Clock:1"]


def test_clock_aligned_intervals_begin_anew_each_midnight() -> None:
    player = Player(variables={"AlignedDataCtrlr.Interval": 25_200})  # seven hours
    said = player.act("wait 86400")
    moments = [payload["meterValue"][0]["timestamp"][5:16] for _, payload in said if payload["evseId"] == 0]
    assert moments == ["01-15T14:00", "01-15T21:00", "01-16T00:00", "01-16T07:00"]


def test_clock_aligned_values_stop_during_a_transaction_if_asked_for() -> None:
    player = charging(
        AlignedDataCtrlr__Interval=900, AlignedDataCtrlr__SendDuringIdle=True, SampledDataCtrlr__TxUpdatedInterval=0
    )
    assert player.act("wait 900") == []
    player.act("swipe TAG-1")
    assert lines_of(player.act("wait 900")) == ["meter 0 Clock:1", "meter 1 Clock:1"]


def test_clock_aligned_values_stop_at_every_evse_while_one_has_a_transaction() -> None:
    """The variable is the station's, not an EVSE's (J01.FR.20)."""
    variables = {"AlignedDataCtrlr.Interval": 900, "AlignedDataCtrlr.SendDuringIdle": True}
    player = Player(evses=[Evse(), Evse()], variables=variables | {"SampledDataCtrlr.TxUpdatedInterval": 0})
    player.act("plug 2")
    player.act("swipe TAG-1 2")
    assert player.act("wait 900") == []
    player.act("swipe TAG-1 2")
    assert lines_of(player.act("wait 900")) == ["meter 0 Clock:1", "meter 1 Clock:1", "meter 2 Clock:1"]


def test_clock_aligned_values_of_16_have_the_transaction() -> None:
    player = charging("1.6", ClockAlignedDataInterval=900, MeterValueSampleInterval=0, StopTxnAlignedData="Voltage")
    assert lines_of(player.act("wait 900")) == ["meter 0 Clock:1", "meter 1 transaction 1 Clock:1"]
    assert contexts(player, "swipe TAG-1")[0] == "stop 1 Local 2750 Wh TAG-1 Begin:1 Clock:3 End:1"


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_every_measurand_is_said_with_its_unit_and_phases(version: str) -> None:
    measurands = (
        "Energy.Active.Import.Register,Power.Active.Import,Power.Offered,Current.Import,Current.Offered,Voltage,SoC,"
        "Frequency"
    )
    name = "MeterValuesSampledData" if version == "1.6" else "SampledDataCtrlr.TxUpdatedMeasurands"
    measurands += ",Temperature" if version == "1.6" else ""
    player = Player(version, variables={name: measurands})
    player.act("plug")
    player.act("swipe TAG-1")
    (_, payload), *_ = player.act("wait 60")
    values = payload["meterValue"][0]["sampledValue"]
    seen = [
        (
            value["measurand"],
            value.get("phase", ""),
            value.get("unit") or value.get("unitOfMeasure", {}).get("unit"),
            float(value["value"]),
        )
        for value in values
    ]
    hertz = None if version == "1.6" else "Hz"  # 1.6 has no such unit
    assert seen == [
        ("Energy.Active.Import.Register", "", "Wh", 183),
        ("Power.Active.Import", "", "W", 11000),
        ("Power.Offered", "", "W", 22000),
        *[("Current.Import", phase, "A", 15.94) for phase in ("L1", "L2", "L3")],
        *[("Current.Offered", phase, "A", 31.88) for phase in ("L1", "L2", "L3")],
        *[("Voltage", phase, "V", 230) for phase in ("L1-N", "L2-N", "L3-N")],
        ("SoC", "", "Percent", 30.3),
        ("Frequency", "", hertz, 50),
        *([("Temperature", "", "Celsius", 32.5)] if version == "1.6" else []),
    ]


# -- Commands ---------------------------------------------------------------------------------------------------------


def asked(component: str, variable: str, **more: Any) -> dict[str, Any]:
    named = {"name": variable, "instance": more.pop("instance")} if "instance" in more else {"name": variable}
    return {"component": {"name": component}, "variable": named, **more}


@pytest.mark.parametrize(
    ("question", "status", "value"),
    [
        (asked("TxCtrlr", "TxStopPoint"), "Accepted", "EVConnected,Authorized"),
        (asked("txctrlr", "TXSTOPPOINT", attribute_type="Actual"), "Accepted", "EVConnected,Authorized"),
        (asked("OCPPCommCtrlr", "MessageTimeout", instance="Default"), "Accepted", "30"),
        (asked("OCPPCommCtrlr", "MessageTimeout"), "UnknownVariable", None),
        (asked("TxCtrlr", "Nonsense"), "UnknownVariable", None),
        (asked("TxCtrlr", "MaxEnergyOnInvalidId"), "Accepted", ""),
        (asked("Nonsense", "TxStopPoint"), "UnknownComponent", None),
        (asked("TxCtrlr", "TxStopPoint", attribute_type="Target"), "NotSupportedAttributeType", None),
    ],
)
def test_get_variables(question: dict[str, Any], status: str, value: str | None) -> None:
    answer, said = Player().command("GetVariables", get_variable_data=[question])
    result = answer.get_variable_result[0]
    assert (result["attribute_status"], result.get("attribute_value")) == (status, value)
    assert said == []


@pytest.mark.parametrize(
    ("component", "variable", "value", "status"),
    [
        ("TxCtrlr", "TxStartPoint", "EVConnected, Authorized", "Accepted"),
        ("TxCtrlr", "TxStartPoint", "DataSigned", "Rejected"),
        ("TxCtrlr", "TxStopPoint", "ParkingBayOccupancy", "Rejected"),
        ("TxCtrlr", "TxStopPoint", "", "Rejected"),
        ("TxCtrlr", "EVConnectionTimeOut", "-1", "Rejected"),
        ("TxCtrlr", "EVConnectionTimeOut", "ten", "Rejected"),
        ("TxCtrlr", "MaxEnergyOnInvalidId", "500", "Accepted"),
        ("TxCtrlr", "Nonsense", "1", "UnknownVariable"),
        ("Nonsense", "TxStartPoint", "1", "UnknownComponent"),
        ("SampledDataCtrlr", "TxUpdatedMeasurands", "SoC,Voltage.L1", "Accepted"),
        ("SampledDataCtrlr", "TxUpdatedMeasurands", "Happiness", "Rejected"),
        ("SampledDataCtrlr", "TxUpdatedMeasurands", "SoC,Temperature", "Rejected"),  # a measurand of 1.6
    ],
)
def test_set_variables(component: str, variable: str, value: str, status: str) -> None:
    player = Player()
    answer, _ = player.command("SetVariables", set_variable_data=[asked(component, variable, attribute_value=value)])
    assert answer.set_variable_result[0]["attribute_status"] == status
    got, _ = player.command("GetVariables", get_variable_data=[asked(component, variable)])
    if status == "Accepted":
        assert got.get_variable_result[0]["attribute_value"] == value.replace(" ", "")


def test_configuration_of_16() -> None:
    player = Player("1.6")
    answer, _ = player.command("GetConfiguration")
    values = {row["key"]: (row.get("value"), row["readonly"]) for row in answer.configuration_key}
    assert values["MeterValueSampleInterval"] == ("60", False)
    assert values["NumberOfConnectors"] == ("1", True)
    assert "MaxEnergyOnInvalidId" not in values
    answer, _ = player.command("GetConfiguration", key=["connectiontimeout", "Nonsense"])
    assert [row["key"] for row in answer.configuration_key] == ["ConnectionTimeOut"]
    assert answer.unknown_key == ["Nonsense"]


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("MeterValueSampleInterval", "10", "Accepted"),
        ("metervaluesampleinterval", "10", "Accepted"),
        ("MeterValueSampleInterval", "-10", "Rejected"),
        ("NumberOfConnectors", "4", "Rejected"),
        ("Nonsense", "4", "NotSupported"),
        ("TxCtrlr.TxStopPoint", "EVConnected", "NotSupported"),
    ],
)
def test_change_configuration_of_16(key: str, value: str, status: str) -> None:
    answer, _ = Player("1.6").command("ChangeConfiguration", key=key, value=value)
    assert answer.status == status


# -- The start, and odd answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("2.0.1", ["status 1 Available", "status 2 Unavailable", "SecurityEventNotification"]),
        ("1.6", ["status 0 Available", "status 1 Available", "status 2 Unavailable"]),
    ],
)
def test_a_start_reports_every_connector(version: str, lines: list[str]) -> None:
    assert lines_of(Player(version, [Evse(), Evse(available=False)]).said) == lines


def test_a_token_in_the_cache_starts_and_stops_without_a_question_if_the_variables_say_so() -> None:
    player = Player(variables={"AuthCtrlr.LocalPreAuthorize": True}, tokens={"TAG-1B": TokenInfo("Accepted", "GROUP")})
    player.act("plug")
    assert lines_of(player.act("swipe TAG-1"))[0] == "authorize TAG-1"
    player.act("swipe TAG-1")
    assert lines_of(player.act("swipe TAG-1"))[0].startswith("Started 0 Authorized")


def test_a_known_token_of_the_same_group_stops_without_a_question() -> None:
    group = {"TAG-1": TokenInfo("Accepted", "GROUP"), "TAG-1B": TokenInfo("Accepted", "GROUP")}
    player = Player(tokens=group)
    player.act("plug")
    player.act("swipe TAG-1B")
    player.act("swipe TAG-1B")
    player.act("swipe TAG-1")
    assert lines_of(player.act("swipe TAG-1B")) == ["Ended 2 StopAuthorized EVConnected Local TAG-1B Begin:1 End:1"]


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
@pytest.mark.parametrize("start", ["swipe TAG-1", "remote start TAG-1"])
@pytest.mark.parametrize(("group", "stops"), [("GROUP", True), ("OTHERS", False), ("", False)])
def test_the_group_that_the_answer_to_a_transaction_names_counts(
    version: str, start: str, group: str, stops: bool
) -> None:
    """The CSMS tells the group with the transaction's start, not with Authorize, or it is not asked (C09.FR.12)."""
    player = Player(
        version,
        tokens={"TAG-1B": TokenInfo("Accepted", "GROUP")},
        in_transaction={"TAG-1": TokenInfo("Accepted", group)},
    )
    player.act("plug")
    player.act(start)
    lines = lines_of(player.act("swipe TAG-1B"))
    assert lines[0] == "authorize TAG-1B"
    assert (len(lines) > 1) is stops
    assert (player.core.evses[1].authorization is None) is stops


def test_the_cache_forgets_after_its_lifetime() -> None:
    player = Player(variables={"AuthCtrlr.LocalPreAuthorize": True, "AuthCacheCtrlr.LifeTime": 100})
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("swipe TAG-1")
    player.act("wait 101")
    assert lines_of(player.act("swipe TAG-1"))[0] == "authorize TAG-1"


def test_a_token_for_other_evses_is_refused_here() -> None:
    player = Player(evses=[Evse(), Evse()], tokens={"TAG-1": TokenInfo("Accepted", "", (2,))})
    player.act("plug 1")
    swipe = Swipe(IdToken("TAG-1"), 1)
    assert lines_of(player.do(swipe)) == ["authorize TAG-1"]
    assert swipe.result is not None
    assert (swipe.result.effect, swipe.result.status) == ("refused", "Accepted")
    assert swipe.result.reason == "the token is accepted at EVSE 2 only"


ONLY_AT_2 = {"TAG-1": TokenInfo("Accepted", "", (2,))}


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_a_remote_start_is_refused_where_the_csms_does_not_accept_the_token(version: str) -> None:
    variables = {"AuthCtrlr.AuthorizeRemoteStart": True}
    player = Player(version, [Evse(), Evse()], variables, ONLY_AT_2)
    player.act("plug 1")
    assert lines_of(player.act("remote start TAG-1 1")[1:]) == ["authorize TAG-1"]
    assert player.core.sessions[0].refused == "the token is accepted at EVSE 2 only"
    player.act("plug 2")
    assert lines_of(player.act("remote start TAG-1 2")[1:])[1].startswith("Started 0 RemoteStart EVConnected")


@pytest.mark.parametrize("token", [IdToken("5", "Central"), IdToken("", "NoAuthorization")])
def test_a_remote_start_never_asks_about_some_types_of_tokens(token: IdToken) -> None:
    player = Player(variables={"AuthCtrlr.AuthorizeRemoteStart": True})
    player.act("plug")
    assert lines_of(player.do(RemoteStart(token, 5, 1)))[0].startswith("Started 0 RemoteStart EVConnected remote 5")


@pytest.mark.parametrize(("version", "line"), [("2.0.1", "Started 0 RemoteStart"), ("1.6", "start 1 TAG-1")])
def test_a_remote_start_asks_the_cache_first_if_the_variables_say_so(version: str, line: str) -> None:
    names = {"2.0.1": ["AuthCtrlr.AuthorizeRemoteStart", "AuthCtrlr.LocalPreAuthorize"]}
    names["1.6"] = ["AuthorizeRemoteTxRequests", "LocalPreAuthorize"]
    player = Player(version, variables=dict.fromkeys(names[version], True))
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("swipe TAG-1")
    said = [each for each in lines_of(player.act("remote start TAG-1 1")[1:]) if not each.startswith("status")]
    assert said[0].startswith(line)


def test_a_remote_start_waits_for_the_vehicle_where_the_csms_accepts_the_token() -> None:
    player = Player(evses=[Evse(), Evse()], variables={"AuthCtrlr.AuthorizeRemoteStart": True}, tokens=ONLY_AT_2)
    player.act("remote start TAG-1")
    assert lines_of(player.act("plug 1")) == ["status 1 Occupied"]
    assert lines_of(player.act("plug 2"))[1].startswith("Started 0 RemoteStart EVConnected")


def test_a_vehicle_at_another_evse_does_not_take_the_token_that_the_csms_looks_at() -> None:
    player = Player(evses=[Evse(), Evse()], tokens=ONLY_AT_2)
    meanwhile(player, PlugIn(Vehicle(), 1))
    assert lines_of(player.act("swipe TAG-1")) == ["authorize TAG-1", "status 1 Occupied"]
    assert lines_of(player.act("plug 2"))[1].startswith("Started 0 CablePluggedIn EVConnected TAG-1")


REMOTE = {"1.6": "AuthorizeRemoteTxRequests", "2.0.1": "AuthCtrlr.AuthorizeRemoteStart"}


def meanwhile(player: Player, event: Event) -> None:
    """Let something happen while the CSMS looks at the next token."""
    events = iter([event])

    def answer(message: Outgoing, said: Said) -> Answer:
        if said[0] == "Authorize":
            for each in events:
                player.core.handle(each, player.now)
        return player.answer(message, said)

    player.answers = answer


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_a_token_presented_twice_while_the_csms_looks_at_it_authorizes_once(version: str) -> None:
    player = Player(version)
    token = player.core.dialect.token("TAG-1", "ISO14443")
    second = Swipe(token)
    meanwhile(player, second)
    player.act("plug")
    said = lines_of(player.act("swipe TAG-1"))
    assert said[:2] == ["authorize TAG-1", "authorize TAG-1"]
    assert second.result is not None
    assert second.result.effect == "authorized"
    assert player.core.evses[1].charging_state == "Charging"
    assert len(lines_of(player.act("swipe TAG-1"))) == (1 if version == "2.0.1" else 2)  # and now it stops
    assert player.core.evses[1].transaction is None


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
@pytest.mark.parametrize("act", ["swipe TAG-9", "remote start TAG-9"])
def test_a_token_that_waits_for_the_csms_keeps_its_place_when_a_session_ends(act: str, version: str) -> None:
    player = Player(version, [Evse(), Evse()], {REMOTE[version]: True})
    play(player, ["plug 1", "swipe TAG-1 1"])
    meanwhile(player, Unplug(1))
    play(player, [act, "plug 2"])
    assert player.core.evses[2].power_kw(player.now) > 0


def test_a_transaction_of_a_token_that_waited_meanwhile_has_its_evse_and_its_end() -> None:
    player = Player(evses=[Evse(), Evse()], variables={"TxCtrlr.TxStartPoint": "Authorized"})
    play(player, ["plug 1", "swipe TAG-1 1"])
    meanwhile(player, Unplug(1))
    player.act("swipe TAG-9")
    assert lines_of(player.act("plug 2"))[1].startswith("Updated 1 CablePluggedIn EVConnected evse 2")
    assert lines_of(player.act("unplug 2"))[1].startswith("Ended 3 EVCommunicationLost")


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_a_token_that_waits_for_the_csms_keeps_its_place_when_another_message_fails(version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    player.core.send(player.core.dialect.version.calls.Heartbeat)
    player.answers = lambda message, said: None if said[0] == "Heartbeat" else player.answer(message, said)
    play(player, ["swipe TAG-9", "plug 2"])
    assert player.core.evses[2].power_kw(player.now) > 0


@pytest.mark.parametrize(("remote", "effect"), [("TAG-1", "authorized"), ("TAG-1B", "refused")])
def test_a_remote_start_while_the_csms_looks_at_a_token_is_not_stopped_by_it(remote: str, effect: str) -> None:
    player = Player(tokens=TOKENS)
    meanwhile(player, RemoteStart(IdToken(remote), 5, 1, "GROUP"))
    player.act("plug")
    swipe = Swipe(IdToken("TAG-1"))
    player.do(swipe)
    assert swipe.result is not None
    assert swipe.result.effect == effect
    assert player.core.evses[1].charging_state == "Charging"


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_a_token_is_refused_without_a_question_where_every_evse_is_out_of_order(version: str) -> None:
    player = Player(version, [Evse(available=False), Evse()])
    player.act("fault GroundFault 2")
    swipe = Swipe(player.core.dialect.token("TAG-1", "ISO14443"))
    assert lines_of(player.do(swipe)) == []
    assert swipe.result is not None
    assert (swipe.result.effect, swipe.result.reason) == ("refused", "EVSE 1 is out of service")


def test_a_token_of_the_group_stops_a_session_beside_an_evse_that_is_out_of_order() -> None:
    player = Player(evses=[Evse(available=False), Evse()], tokens=TOKENS)
    player.act("plug 1")
    player.act("plug 2")
    player.act("swipe TAG-1")
    assert lines_of(player.act("swipe TAG-1B"))[1].startswith("Ended 2 StopAuthorized EVConnected Local TAG-1B")


def test_a_vehicle_at_a_repaired_connector_of_16_is_given_up_without_a_token() -> None:
    player = Player("1.6")
    player.act("fault GroundFault")
    player.act("plug")
    assert lines_of(player.act("clear fault")) == ["status 1 Preparing"]
    assert lines_of(player.act("wait 61")) == ["status 1 Finishing"]


def test_a_message_without_an_answer_changes_nothing() -> None:
    player = Player()
    player.answers = lambda message, _said: None
    player.act("plug")
    swipe = Swipe(IdToken("TAG-1"))
    assert lines_of(player.do(swipe)) == ["authorize TAG-1"]
    assert swipe.result is None
    assert player.core.transactions == []


def test_a_transaction_of_16_without_an_id_is_named_minus_one() -> None:
    """The answer to StartTransaction never came (errata sheet, 3.18)."""
    player = Player("1.6")
    usual = player.answer
    player.answers = lambda message, said: None if said[0] == "StartTransaction" else usual(message, said)
    player.act("plug")
    assert lines_of(player.act("swipe TAG-1")) == ["authorize TAG-1", "start 1 TAG-1 0 Wh", "status 1 Charging"]
    assert not any("-1" in line for line in lines_of(player.act("wait 30")))  # the answer may come yet
    assert lines_of(player.act("wait 90"))[-1].startswith("meter 1 transaction -1 Periodic")
    assert lines_of(player.act("swipe TAG-1")) == [
        "stop -1 Local 367 Wh TAG-1 Begin:1 Periodic:1 Periodic:1 End:1",
        "status 1 Finishing",
    ]
    player.answers = None
    player.act("swipe TAG-1")
    assert lines_of(player.act("swipe TAG-1"))[0].startswith("stop 1 Local")


def test_an_answer_that_comes_after_the_session_changes_nothing() -> None:
    player = Player()
    player.act("plug")
    player.act("swipe TAG-1")
    question = player.with_token
    assert question is not None
    player.act("swipe TAG-1")
    assert player.do(Answer(question, TokenInfo("Invalid"))) == []
    assert player.do(Failure(question)) == []


@pytest.mark.parametrize(
    ("acts", "text"),
    [
        (["plug", "plug"], "EVSE 1 has a vehicle already; unplug it first"),
        (["unplug"], "EVSE 1 has no cable to unplug"),
        (["suspend ev"], "EVSE 1 has no vehicle"),
        (["clear fault"], "EVSE 1 has no fault"),
        (["fault GroundFault", "fault Other"], "EVSE 1 has a fault already: GroundFault; clear it first"),
        (["fault Flood"], "a fault is one of GroundFault, "),
        (["plug 3"], "this station has EVSE 1 only, not 3"),
        (["unplug ev"], "EVSE 1 has no cable to unplug"),
    ],
)
def test_what_cannot_be_done_is_said_in_plain_words_and_changes_nothing(acts: list[str], text: str) -> None:
    player = Player()
    for act in acts[:-1]:
        player.act(act)
    with pytest.raises(ValueError, match=text):
        player.act(acts[-1])
    assert lines_of(player.act("wait 3600")) == []


@pytest.mark.parametrize(
    ("acts", "text"),
    [
        (["plug"], "where\\? There are several EVSEs to plug in; say evse=1 or 2"),
        (["plug 1", "plug 2", "swipe TAG-1"], "which vehicle is the token for\\? .* evse=1 or 2"),
        (
            ["plug 1", "swipe TAG-1 1", "plug 2", "swipe TAG-1 2", "swipe TAG-1"],
            "in use at several EVSEs; say evse=1 or 2",
        ),
        (["plug 1", "plug 2", "unplug"], "evse=1 or 2"),
        (["unplug"], "cannot unplug: each EVSE has no cable to unplug"),
    ],
)
def test_an_act_that_does_not_say_where_is_refused_if_that_is_not_plain(acts: list[str], text: str) -> None:
    player = Player(evses=[Evse(), Evse()])
    for act in acts[:-1]:
        player.act(act)
    with pytest.raises(ValueError, match=text):
        player.act(acts[-1])


def test_times_have_milliseconds_and_a_z() -> None:
    player = Player()
    player.now = 0.0005
    assert player.act("plug")[0][1]["timestamp"] in ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:00.001Z")
    assert EPOCH == 1_800_000_000


REFUSALS = {
    "1.6": ["Blocked", "Expired", "Invalid", "ConcurrentTx"],
    "2.0.1": [
        *("Blocked", "ConcurrentTx", "Expired", "Invalid", "NoCredit", "NotAllowedTypeEVSE", "NotAtThisLocation"),
        *("NotAtThisTime", "Unknown"),
    ],
}


@pytest.mark.parametrize(
    ("version", "status"), [(version, status) for version, statuses in REFUSALS.items() for status in statuses]
)
def test_each_status_but_accepted_refuses_before_the_session_and_ends_it_later(version: str, status: str) -> None:
    refused = TokenInfo(status)
    player = Player(version, tokens={"TAG-1": refused}, in_transaction={"TAG-2": refused})
    player.act("plug")
    swipe = Swipe(player.core.dialect.token("TAG-1", "ISO14443"))
    assert lines_of(player.do(swipe)) == ["authorize TAG-1"]
    assert swipe.result is not None
    assert (swipe.result.effect, swipe.result.status) == ("refused", status)
    lines = lines_of(player.act("swipe TAG-2"))
    ends = "stop 1 DeAuthorized 0 Wh" if version == "1.6" else "Ended 2 Deauthorized EVConnected DeAuthorized"
    assert any(line.startswith(ends) for line in lines), lines
    session = player.core.evses[1].session
    assert session is not None
    assert session.refused == status


# -- What is over is over ---------------------------------------------------------------------------------------------


def test_a_session_that_began_with_a_token_counts_from_the_meter_of_its_evse() -> None:
    player = Player(evses=[Evse(register_kwh=5), Evse(register_kwh=7)])
    player.act("swipe TAG-1")
    player.act("plug 2")
    player.act("wait 60")
    player.act("unplug 2")
    assert player.core.sessions[-1].energy_wh == 183


def test_a_fault_ends_an_authorization_that_waits_for_its_vehicle() -> None:
    player = Player()
    player.act("swipe TAG-1")
    player.act("fault GroundFault")
    player.act("clear fault")
    player.act("plug")
    assert player.core.evses[1].charging_state == "EVConnected"
    assert player.core.transactions == []


def test_an_authorization_without_a_transaction_ends_with_the_cable() -> None:
    variables = {"TxCtrlr.TxStartPoint": "EnergyTransfer", "TxCtrlr.StopTxOnEVSideDisconnect": False}
    player = Player(variables=variables)
    for words in ("plug", "suspend ev", "swipe TAG-1", "unplug ev", "plug"):
        player.act(words)
    assert player.core.evses[1].charging_state == "EVConnected"
    assert player.core.transactions == []


def test_a_vehicle_that_left_is_not_given_up_later() -> None:
    player = Player("1.6")
    player.act("plug")
    player.act("wait 30")
    player.act("unplug")
    assert player.act("wait 300") == []


def test_the_next_vehicle_is_not_suspended() -> None:
    player = Player()
    for words in ("plug", "suspend ev", "unplug", "plug", "swipe TAG-1"):
        player.act(words)
    assert player.core.evses[1].charging_state == "Charging"


def test_a_message_that_waits_for_its_next_attempt_is_sent_at_once_after_a_reconnection() -> None:
    player = charging()
    usual = player.answer
    player.answers = lambda message, _said: Failure(message)
    player.act("suspend ev")
    player.answers = usual
    player.act("offline")
    assert "Updated 2 ChargingStateChanged SuspendedEV" in lines_of(player.act("online"))


@pytest.mark.parametrize("stop", ["Authorized", "EnergyTransfer", "Authorized,EnergyTransfer"])
@pytest.mark.parametrize("side", ["evse", "ev"])
def test_a_transaction_that_nobody_authorized_ends_with_its_vehicle(side: Literal["evse", "ev"], stop: str) -> None:
    """E09.FR.01: it is deauthorized, although EVConnected is no stop point; E05.FR.10: so it ends."""
    player = Player("2.0.1", variables={"TxCtrlr.TxStartPoint": "EVConnected", "TxCtrlr.TxStopPoint": stop})
    player.do(PlugIn(Vehicle()))
    said = [payload for action, payload in player.do(Unplug(side=side)) if action == "TransactionEvent"]
    assert [(each["eventType"], each["triggerReason"]) for each in said] == [("Ended", "EVCommunicationLost")]
    assert said[0]["transactionInfo"]["stoppedReason"] == "EVDisconnected"


@pytest.mark.parametrize("stop", ["Authorized", "EnergyTransfer"])
@pytest.mark.parametrize("set_later", [False, True])
def test_a_transaction_that_nobody_authorized_waits_for_its_vehicle_to_come_back(stop: str, set_later: bool) -> None:
    """E10.FR.02: where the cable may come back, the transaction is deauthorized after a time."""
    variables = {
        "TxCtrlr.TxStartPoint": "EVConnected",
        "TxCtrlr.TxStopPoint": stop,
        "TxCtrlr.StopTxOnEVSideDisconnect": False,
        "TxCtrlr.EVConnectionTimeOut": 0 if set_later else 60,
        "SampledDataCtrlr.TxUpdatedInterval": 0,
    }
    player = Player("2.0.1", variables=variables)
    player.act("plug")
    assert [line for line in lines_of(player.act("unplug ev")) if line[:6] != "status"] == [
        "Updated 1 EVCommunicationLost Idle"
    ]
    assert player.act("wait 59") == []
    player.act("plug")
    player.act("unplug ev")
    if set_later:
        assert player.act("wait 1e6") == []
        player.core.variables.set("TxCtrlr.EVConnectionTimeOut", 60)
        player.do(VariablesChanged({"TxCtrlr.EVConnectionTimeOut": 0}))
    assert [line for line in lines_of(player.act("wait 60")) if line[:6] != "status"] == [
        "Ended 4 EVCommunicationLost EVDisconnected Begin:1 End:1"
    ]
    assert player.core.evses[1].transaction is None
