"""Quirks: what an awkward station says, with and without each of them; its own truth is the same.

``quirky_queue``, which carries them out, is tested here too.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from typing import Any

import pytest
from core_player import Player, Said
from csms_stub import Csms
from hypothesis import given, settings
from hypothesis import strategies as st
from message_lines import lines_of
from station_wire import accept_all, words

from cpsim_kit.station import QUIRKS, Evse, Station, Vehicle
from cpsim_kit.station.charging.session import truth_frame
from cpsim_kit.station.rules.events import Accepted, Answer, Failure, Offline, Online, Outgoing, PowerOff
from cpsim_kit.station.rules.memory import recall, remember
from cpsim_kit.station.rules.queue import MessageQueue

METER = (Evse(register_kwh=100),)
SESSION = ("plug", "swipe TAG-1", "wait 200", "swipe TAG-1", "unplug")
DAY = 86_400


def play(version: str, *quirks: str, acts: tuple[str, ...] = SESSION, **options: Any) -> Player:
    player = Player(version, METER, quirks=quirks, **options)
    for act in acts:
        player.act(act)
    return player


def truth(player: Player) -> list[dict[str, Any]]:
    return list(truth_frame(player.core.transactions, 0).to_dict("records"))


def registers(said: list[Said]) -> list[list[float]]:
    """The register's values in each message, those of StartTransaction and StopTransaction too."""
    found = []
    for _action, payload in said:
        values = [payload["meterStart"]] if "meterStart" in payload else []
        for reading in payload.get("meterValue") or payload.get("transactionData", []):
            values += [
                float(value["value"]) for value in reading["sampledValue"] if value["measurand"].endswith(".Register")
            ]
        found.append([*values, payload["meterStop"]] if "meterStop" in payload else values)
    return [values for values in found if values]


def plain(said: list[Said]) -> list[str]:
    return lines_of(said[2:])  # without the start


# -- Each of them -----------------------------------------------------------------------------------------------------

OFFLINE = ("offline", "plug", "swipe TAG-1", "wait 60", "online", "wait 60", "swipe TAG-1", "unplug")
OFFLINE_TOKENS = {
    "1.6": {"AllowOfflineTxForUnknownId": True},
    "2.0.1": {"AuthCtrlr.OfflineTxForUnknownIdEnabled": True},
}


@pytest.mark.parametrize(
    ("version", "right", "wrong"),
    [
        (
            "1.6",
            [[100000], [100183], [100367], [100000, 100183, 100367, 100367, 100367]],
            [[0], [100183], [100367], [0, 100183, 100367, 100367, 100367]],
        ),
        (
            "2.0.1",
            [[100000], [100183], [100367], [100000, 100367]],
            [[0], [100183], [100367], [0, 100367]],
        ),
    ],
)
def test_a_transaction_that_begins_offline_begins_at_zero(
    version: str, right: list[list[float]], wrong: list[list[float]]
) -> None:
    variables = OFFLINE_TOKENS[version]
    assert registers(play(version, acts=OFFLINE, variables=variables).said) == right
    player = play(version, "begin_zero_offline", acts=OFFLINE, variables=variables)
    assert registers(player.said) == wrong
    assert player.quirks.counts == {"begin_zero_offline": 2}
    assert truth(player)[0]["start_wh"] == 100_000


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_a_transaction_that_begins_online_does_not_begin_at_zero(version: str) -> None:
    acts = ("plug", "swipe TAG-1", "offline", "wait 60", "swipe TAG-1", "online")
    player = play(version, "begin_zero_offline", acts=acts)
    assert player.said == play(version, acts=acts).said
    assert player.quirks.counts == {"begin_zero_offline": 0}


@pytest.mark.parametrize(
    ("version", "right", "wrong"),
    [
        (
            "1.6",
            [
                [100000],
                [100183],
                [100367],
                [100550],
                [100000, 100183, 100367, 100550, 100611, 100611],
            ],
            [[100000], [100183], [0], [183], [100000, 100183, 0, 183, 244, 244]],
        ),
        (
            "2.0.1",
            [[100000], [100183], [100367], [100550], [100000, 100611]],
            [[100000], [100183], [0], [183], [100000, 244]],
        ),
    ],
)
def test_the_register_rolls_back_once_in_a_transaction(
    version: str, right: list[list[float]], wrong: list[list[float]]
) -> None:
    assert registers(play(version).said) == right
    player = play(version, "register_rollback")
    assert registers(player.said) == wrong
    assert player.quirks.counts == {"register_rollback": 3}
    assert truth(player)[0]["end_wh"] == 100_611


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_the_register_rolls_back_at_the_end_where_there_were_no_readings(version: str) -> None:
    acts = ("plug", "swipe TAG-1", "wait 30", "swipe TAG-1")
    assert registers(play(version, "register_rollback", acts=acts).said)[-1][-1] == 0


@pytest.mark.parametrize(
    ("version", "stop", "last"),
    [
        ("1.6", "stop 1 Local 100611 Wh TAG-1 Begin:1 Periodic:1 Periodic:1 Periodic:1 End:1", "Finishing"),
        ("2.0.1", "Ended 5 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1", ""),
    ],
)
def test_the_last_message_comes_twice(version: str, stop: str, last: str) -> None:
    between = [f"status 1 {last}"] if last else []
    assert plain(play(version).said)[-2 - len(between) :] == [stop, *between, "status 1 Available"]
    player = play(version, "stop_twice")
    assert plain(player.said)[-3 - len(between) :] == [stop, *between, stop, "status 1 Available"]
    assert player.quirks.counts == {"stop_twice": 1}
    assert len(player.core.queue) == 0
    stops = [payload for action, payload in player.said if action in ("StopTransaction", "TransactionEvent")]
    assert stops[-1] == stops[-2]


def test_the_copy_says_what_was_said_offline() -> None:
    player = play("2.0.1", "stop_twice", acts=("plug", "swipe TAG-1", "offline", "swipe TAG-1", "unplug", "online"))
    ends = [payload for _action, payload in player.said if payload.get("eventType") == "Ended"]
    assert len(ends) == 2
    assert ends[0] == ends[1]
    assert ends[1]["offline"] is True


def test_a_last_message_that_was_given_up_does_not_come_twice() -> None:
    player = play("2.0.1", "stop_twice", acts=("plug", "swipe TAG-1"))
    player.answers = lambda message, said: Failure(message, is_final=True)
    player.act("swipe TAG-1")
    assert player.quirks.counts == {"stop_twice": 0}


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (
            "1.6",
            [
                "meter 1 transaction 1 Periodic:9",
                "stop 1 Local 100611 Wh TAG-1 Begin:1 Periodic:1 Periodic:1 Periodic:1 End:1",
                "meter 1 transaction 1 Periodic:9",
                "status 1 Finishing",
                "status 1 Available",
            ],
        ),
        (
            "2.0.1",
            [
                "Updated 2 MeterValuePeriodic Periodic:9",
                "Updated 3 MeterValuePeriodic Periodic:9",
                "Ended 5 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1",
                "Updated 4 MeterValuePeriodic Periodic:9",
                "status 1 Available",
            ],
        ),
    ],
)
def test_the_end_comes_before_the_last_update(version: str, lines: list[str]) -> None:
    player = play(version, "ended_before_updated")
    assert plain(player.said)[-5:] == lines
    assert sorted(lines_of(player.said)) == sorted(lines_of(play(version).said))
    assert player.quirks.counts == {"ended_before_updated": 1}
    assert len(player.core.queue) == 0


def test_an_update_that_waits_for_the_end_is_in_the_queue_and_holds_up_nobody_else() -> None:
    player = Player(evses=[Evse(), Evse()], quirks=["ended_before_updated"])
    for act in ("plug 1", "swipe TAG-1 1", "wait 1", "plug 2"):
        player.act(act)
    assert [message.report.trigger for message in player.core.queue if message.report] == ["ChargingStateChanged"]
    assert lines_of(player.act("swipe TAG-2 2")) == [
        "authorize TAG-2",
        "Started 0 Authorized EVConnected TAG-2 evse 2 32 A Begin:1",
    ]
    assert lines_of(player.act("unplug 1")) == [
        "status 1 Available",
        "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1",
        "Updated 1 ChargingStateChanged Charging 3 phases",
    ]
    assert lines_of(player.act("unplug 2"))[1:] == [
        "Ended 2 EVCommunicationLost Idle EVDisconnected Begin:1 End:1",
        "Updated 1 ChargingStateChanged Charging 3 phases",
    ]


def test_an_update_with_a_token_waits_no_longer_than_for_the_charging_state() -> None:
    player = Player(variables={"TxCtrlr.TxStartPoint": "EVConnected"}, quirks=["ended_before_updated"])
    player.act("plug")
    assert lines_of(player.act("swipe TAG-1")) == ["authorize TAG-1", "Updated 1 Authorized TAG-1"]


def test_an_end_does_not_come_before_its_start() -> None:
    acts = ("offline", "plug", "swipe TAG-1", "wait 1", "swipe TAG-1", "online")
    player = play("1.6", "ended_before_updated", acts=acts, variables=OFFLINE_TOKENS["1.6"])
    assert plain(player.said)[:2] == ["start 1 TAG-1 100000 Wh", "stop 1 Local 100003 Wh TAG-1 Begin:1 End:1"]


def test_a_failed_message_behind_one_that_waits_is_tried_again_in_time() -> None:
    player = Player(evses=[Evse(), Evse()], quirks=["ended_before_updated"])
    for act in ("plug 1", "swipe TAG-1 1", "plug 2"):
        player.act(act)
    moments = []

    def fail_once(message: Outgoing, said: Said) -> Answer | Failure:
        if message.report is not None and message.report.transaction.evse_id == 2:
            moments.append(player.now)
            if len(moments) == 1:
                return Failure(message)
        return player.answer(message, said)

    player.answers = fail_once
    player.act("swipe TAG-2 2")
    player.act("wait 30")
    assert moments == [0, 10]


def test_a_message_that_says_nothing_of_the_register_does_not_count() -> None:
    acts = ("offline", "swipe TAG-1", "plug", "wait 60", "online", "wait 60", "swipe TAG-1")
    variables = {
        "TxCtrlr.TxStartPoint": "Authorized",
        "SampledDataCtrlr.TxEndedMeasurands": "",
        **OFFLINE_TOKENS["2.0.1"],
    }
    player = play("2.0.1", "begin_zero_offline", "register_rollback", acts=acts, variables=variables)
    assert registers(player.said) == [[0], [100183], [0]]
    assert player.quirks.counts == {"begin_zero_offline": 1, "register_rollback": 1}


def times(said: list[Said]) -> list[str]:
    def find(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [each for name, each in value.items() if name == "timestamp"]
            return own + list(itertools.chain.from_iterable(find(each) for each in value.values()))
        return list(itertools.chain.from_iterable(find(each) for each in value)) if isinstance(value, list) else []

    return find([payload for _action, payload in said])


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_the_clock_is_a_day_ahead_in_each_message_with_a_time(version: str) -> None:
    variables = {"ClockAlignedDataInterval" if version == "1.6" else "AlignedDataCtrlr.Interval": 100}
    right, wrong = (play(version, *quirks, variables=variables) for quirks in ((), ("clock_a_day_off",)))
    assert [lines_of([each]) for each in wrong.said] == [lines_of([each]) for each in right.said]
    assert len(times(right.said)) > 10
    assert times(wrong.said) == [text.replace("2027-01-15", "2027-01-16") for text in times(right.said)]
    without = [action for action, _payload in wrong.said if action == "Authorize"]
    assert wrong.quirks.counts == {"clock_a_day_off": len(wrong.said) - len(without)}
    assert truth(wrong) == truth(right)


def test_the_numbers_of_a_transaction_begin_again_after_each_outage() -> None:
    acts = (
        "plug",
        "swipe TAG-1",
        "wait 60",
        "offline",
        "wait 60",
        "online",
        "wait 120",
        "offline",
        "online",
        "wait 60",
    )
    right, wrong = (play("2.0.1", *quirks, acts=acts) for quirks in ((), ("seq_no_restarted",)))
    assert [payload["seqNo"] for _, payload in right.said if "seqNo" in payload] == [0, 1, 2, 3, 4, 5, 6]
    assert [payload["seqNo"] for _, payload in wrong.said if "seqNo" in payload] == [0, 1, 2, 3, 0, 1, 0]
    assert wrong.quirks.counts == {"seq_no_restarted": 3}


def test_a_message_of_before_that_is_sent_again_keeps_its_number() -> None:
    player = play("2.0.1", "seq_no_restarted", acts=("plug", "swipe TAG-1", "offline", "wait 60", "online"))
    player.act("offline")
    player.act("wait 60")
    player.answers = lambda message, said: (
        player.answer(message, said) if message.attempts or message.report is None else Failure(message)
    )
    player.act("online")  # the first attempt fails
    player.act("suspend ev")
    player.act("wait 30")
    assert [payload["seqNo"] for _, payload in player.said if "seqNo" in payload] == [0, 1, 2, 3, 3, 0, 0]


def test_the_numbers_begin_again_for_a_transaction_that_began_offline_and_for_no_later_one() -> None:
    acts = ("offline", "plug", "swipe TAG-1", "online", "wait 60", "swipe TAG-1", "swipe TAG-1", "wait 60")
    player = play("2.0.1", "seq_no_restarted", acts=acts, variables=OFFLINE_TOKENS["2.0.1"])
    assert [payload["seqNo"] for _, payload in player.said if "seqNo" in payload] == [0, 1, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("version", "first"),
    [
        ("1.6", "meter 1 transaction 1 Periodic:9"),
        ("2.0.1", "Updated 2 MeterValuePeriodic Periodic:9"),
    ],
)
def test_the_connector_is_available_while_charging(version: str, first: str) -> None:
    right, wrong = lines_of(play(version).said), lines_of(play(version, "available_while_charging").said)
    place = right.index(first) + 1
    assert wrong == [*right[:place], "status 1 Available", *right[place:]]


def test_the_connector_of_a_transaction_that_has_ended_is_not_available_again() -> None:
    acts = ("plug", "swipe TAG-1", "offline", "wait 60", "swipe TAG-1", "online")
    player = play("2.0.1", "available_while_charging", acts=acts)
    assert player.quirks.counts == {"available_while_charging": 0}
    assert "status 1 Available" not in plain(player.said)


# -- Several, none, and wrong names -----------------------------------------------------------------------------------


def test_several_at_once() -> None:
    player = play(
        "2.0.1",
        "register_rollback",
        "ended_before_updated",
        "stop_twice",
        "clock_a_day_off",
        "available_while_charging",
    )
    assert plain(player.said)[-5:] == [
        "Updated 3 MeterValuePeriodic Periodic:9",
        "Ended 5 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1",
        "Updated 4 MeterValuePeriodic Periodic:9",
        "Ended 5 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1",
        "status 1 Available",
    ]
    assert registers(player.said)[-3:] == [[100000, 244], [183], [100000, 244]]
    assert min(player.quirks.counts.values()) == 1
    assert [quirk.name for quirk in player.first_quirks] == [
        "clock_a_day_off",
        "available_while_charging",
        "register_rollback",
        "ended_before_updated",
        "stop_twice",
    ]


def test_a_message_that_is_sent_again_counts_once() -> None:
    player = Player("2.0.1", METER, quirks=["clock_a_day_off"])
    before = player.quirks.counts["clock_a_day_off"]
    player.answers = lambda message, said: Failure(message) if message.attempts == 0 else player.answer(message, said)
    player.act("plug")
    player.answers = lambda message, said: (
        Failure(message) if message.report is not None and message.attempts == 0 else player.answer(message, said)
    )
    player.act("swipe TAG-1")
    player.act("wait 40")
    said = lines_of(player.said)
    assert said.count("Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1") == 2
    assert player.quirks.counts["clock_a_day_off"] - before == 3  # StatusNotification, Started, Updated


def test_off_unless_asked_for() -> None:
    assert type(Player().core.queue) is MessageQueue
    assert Station("CP1", "ws://127.0.0.1:9").quirks == {}


@pytest.mark.parametrize(
    ("quirks", "version", "text"),
    [
        (["register_rolback"], "2.0.1", "no quirk 'register_rolback', did you mean 'register_rollback'.*stop_twice"),
        (["x"], "2.0.1", "no quirk 'x'; there are begin_zero_offline, "),
        ([1], "2.0.1", "no quirk 1"),
        ("stop_twice", "2.0.1", "quirks is a list of names, not 'stop_twice'"),
        (["seq_no_restarted"], "1.6", "'seq_no_restarted' is one of OCPP 2.0.1 and 2.1, not of 1.6"),
    ],
)
def test_a_wrong_name_is_a_value_error(quirks: Any, version: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Station("CP1", "ws://127.0.0.1:9", version=version, quirks=quirks)


def test_each_quirk_names_its_reports() -> None:
    for name, quirk in QUIRKS.items():
        assert quirk.name == name
        assert quirk.description.endswith(".")
        assert quirk.seen.endswith(".")
        assert all(url.startswith("https://github.com/") for url in quirk.reports)
        assert quirk.reports


# -- Any of them, whatever happens ------------------------------------------------------------------------------------

ACTS = [
    "plug",
    "swipe TAG-1",
    "unplug",
    "suspend ev",
    "resume ev",
    "wait 5",
    "wait 100",
    "fault Other",
    "clear fault",
    "offline",
    "online",
    "power off",
]


def play_any(version: str, quirks: list[str], acts: list[str]) -> Player:
    player = Player(version, METER, quirks=quirks)
    is_online = has_power = True
    for act in [*acts, "online", "wait 3600"]:
        if act == "power off" and has_power:
            player.do(PowerOff())
            is_online = has_power = False
        elif act == "online" and not is_online:
            player.do(Online() if has_power else Accepted())
            is_online = has_power = True
        elif act == "offline" and is_online:
            is_online = False
            player.do(Offline())
        elif act not in ("power off", "online", "offline"):
            with contextlib.suppress(ValueError):
                player.act(act)
    return player


@settings(max_examples=80, deadline=None)
@given(
    acts=st.lists(st.sampled_from(ACTS), max_size=25),
    version=st.sampled_from(["1.6", "2.0.1"]),
    quirks=st.sets(st.sampled_from(sorted(QUIRKS))),
)
def test_whatever_is_said_the_stations_own_truth_is_the_same(acts: list[str], version: str, quirks: set[str]) -> None:
    names = sorted(name for name in quirks if version in QUIRKS[name].versions)
    right, wrong = play_any(version, [], acts), play_any(version, names, acts)
    assert str(truth(wrong)) == str(truth(right))  # as text, since what is not known yet differs from itself
    assert str([session.rows for session in wrong.core.sessions]) == str(
        [session.rows for session in right.core.sessions]
    )
    waiting = [message.report.transaction.end for message in wrong.core.queue if message.report is not None]
    assert waiting in ([], [None])  # at most the last Updated of the transaction that runs
    if "stop_twice" in names:
        assert wrong.quirks.counts["stop_twice"] == sum(each.end is not None for each in wrong.core.transactions)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_what_waits_through_a_power_loss_is_said_as_before(version: str) -> None:
    quirks = ("begin_zero_offline", "register_rollback", "ended_before_updated", "stop_twice")
    acts = ("offline", "plug", "swipe TAG-1", "wait 200", "swipe TAG-1", "unplug")
    player = play(version, *quirks, acts=acts, variables=OFFLINE_TOKENS[version])
    other = Player(version, METER, quirks=quirks, is_started=False)
    recall(other.core, remember(player.core, player.now))
    for each in (player, other):
        each.said.clear()
    player.act("online")
    other.now = player.now
    other.do(Accepted())
    assert registers(player.said)[0] == [0]
    assert registers(other.said) == registers(player.said)
    applied = {name for name, count in other.quirks.counts.items() if count}
    assert applied == set(quirks) - {"ended_before_updated"}  # their order was saved


# -- On a socket ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_hang")
@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_ledger_of_an_awkward_station_is_wrong_and_the_log_says_why(
    csms: Csms, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    accept_all(csms, version)
    quirks = ["register_rollback", "stop_twice"]
    options: dict[str, Any] = {"version": version, "evses": METER, "speed": math.inf, "seed": 1}
    async with Station("CP1", csms.url, quirks=quirks, **options) as station:
        assert station.quirks == {"register_rollback": 0, "stop_twice": 0}
        assert not caplog.records
        for _ in range(2):
            await station.charge(Vehicle(60, 0.3, 11), token="TAG-1", minutes=10)
        assert station.quirks["stop_twice"] == 2
        assert station.truth()["energy_wh"].to_list() == [1833, 1834]
        assert "stop_twice: 2" in station._repr_html_()

    ends = [call.payload for call in csms.calls if word_of_end(call.payload)]
    assert len(ends) == 4
    assert ends[0] == ends[1]
    last = ends[0]["meterStop"] if version == "1.6" else ends[0]["meterValue"][-1]["sampledValue"][0]["value"]
    assert last == 1833 - 367
    assert words(csms)[-1].endswith("Available")
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage().partition(" for")[0] for record in warnings] == [
        "CP1: quirk register_rollback",
        "CP1: quirk stop_twice",
    ]
    assert "https://github.com/citrineos/citrineos-core/pull/880" in warnings[1].getMessage()


def word_of_end(payload: dict[str, Any]) -> bool:
    return "meterStop" in payload or payload.get("eventType") == "Ended"
