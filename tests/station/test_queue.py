"""Delivery: what waits while the station is offline, what is sent again and when, and what is given up.

The test cases TC_E_40 to 45, 50 and 51 of part 6 as tables, and properties of any sequence of faults.
"""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
from core_player import Player, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from message_lines import lines_of

from cpsim_kit.station import Evse
from cpsim_kit.station.rules.authorization import IdToken, TokenInfo
from cpsim_kit.station.rules.events import (
    Accepted,
    Answer,
    ChangeAvailability,
    Event,
    Failure,
    Outgoing,
    PowerOff,
    RemoteStart,
    Swipe,
)
from cpsim_kit.station.rules.queue import MessageQueue

GROUP = {"TAG-1": TokenInfo("Accepted", "GROUP"), "TAG-1B": TokenInfo("Accepted", "GROUP")}
QUIET = {"SampledDataCtrlr.TxUpdatedInterval": 0}


def charging(version: str = "2.0.1", variables: dict[str, object] | None = None) -> Player:
    player = Player(version, variables=variables, tokens=GROUP)
    player.act("plug")
    player.act("swipe TAG-1")
    return player


def offline_flags(said: list[Said]) -> list[bool]:
    return [payload.get("offline", False) for action, payload in said if action == "TransactionEvent"]


class Attempts:
    """A CSMS that fails on transaction messages: how often, and how; the moments of the attempts."""

    def __init__(self, player: Player, failures: int, *, waited: bool = True, is_final: bool = False) -> None:
        self.moments: list[float] = []
        self._player = player
        self._failures = failures
        self._how = {"waited": waited, "is_final": is_final}
        player.answers = self.answer

    def answer(self, message: Outgoing, said: Said) -> Answer | Failure:
        if message.report is None:
            return self._player.answer(message, said)
        self.moments.append(self._player.now)
        if len(self.moments) <= self._failures:
            return Failure(message, **self._how)
        return self._player.answer(message, said)


def test_tc_e_40_a_connection_lost_during_a_transaction_queues_its_messages() -> None:
    player = charging()
    assert player.act("offline") == []
    assert player.act("wait 180") == []
    said = player.act("online")
    assert lines_of(said) == [
        *[f"Updated {number} MeterValuePeriodic Periodic:9" for number in (2, 3, 4)],
        "status 1 Occupied",  # longer offline than OfflineThreshold
    ]
    assert offline_flags(said) == [True, True, True]
    assert offline_flags(player.act("wait 60")) == [False]


def test_tc_e_41_a_message_without_an_answer_is_sent_as_often_as_the_variable_says() -> None:
    player = charging(variables=QUIET)
    attempts = Attempts(player, 99)
    player.act("suspend ev")
    player.act("wait 1000")
    # 10 s times the transmissions before, and MessageTimeout
    assert attempts.moments == [0, 40, 90]
    assert [message.report.trigger for message in player.core.queue.given_up if message.report] == [
        "ChargingStateChanged"
    ]


def test_tc_e_42_an_answer_before_the_last_attempt_ends_the_attempts() -> None:
    player = charging(variables=QUIET)
    attempts = Attempts(player, 1)
    player.act("suspend ev")
    player.act("wait 1000")
    assert attempts.moments == [0, 40]
    assert player.core.queue.given_up == []


def test_tc_e_43_and_51_a_whole_transaction_while_offline_is_told_afterwards() -> None:
    player = charging()
    player.act("swipe TAG-1")
    player.act("unplug")
    player.act("offline")
    said = [player.act(words) for words in ("plug", "swipe TAG-1", "wait 60", "swipe TAG-1", "unplug")]
    assert said == [[], [], [], [], []]
    said_later = player.act("online")
    assert lines_of(said_later) == [
        "Started 0 Authorized EVConnected TAG-1 evse 1 32 A Begin:1",
        "Updated 1 ChargingStateChanged Charging 3 phases",
        "Updated 2 MeterValuePeriodic Periodic:9",
        "Ended 3 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1",
    ]
    assert all(offline_flags(said_later))


def test_tc_e_44_a_transaction_stopped_while_offline() -> None:
    player = charging()
    player.act("offline")
    assert [player.act("swipe TAG-1"), player.act("unplug")] == [[], []]
    said = player.act("online")
    assert lines_of(said) == [
        "Ended 2 StopAuthorized EVConnected Local TAG-1 Begin:1 End:1",
        "status 1 Available",
    ]
    assert offline_flags(said) == [True]


def test_tc_e_45_a_transaction_stopped_by_the_same_group_while_offline() -> None:
    player = Player(tokens=GROUP)
    player.act("plug")
    player.act("swipe TAG-1B")  # so that the cache knows it
    player.act("swipe TAG-1B")
    player.act("swipe TAG-1")
    player.act("offline")
    assert player.act("swipe TAG-1B") == []
    assert lines_of(player.act("online")) == ["Ended 2 StopAuthorized EVConnected Local TAG-1B Begin:1 End:1"]


def test_tc_e_50_a_message_answered_by_an_error_waits_for_the_interval_only() -> None:
    player = charging(variables=QUIET)
    attempts = Attempts(player, 99, waited=False)
    player.act("suspend ev")
    player.act("wait 1000")
    assert attempts.moments == [0, 10, 30]


def test_the_retry_keys_of_16() -> None:
    keys = {"TransactionMessageAttempts": 3, "TransactionMessageRetryInterval": 60, "MeterValueSampleInterval": 0}
    player = charging("1.6", keys)
    attempts = Attempts(player, 99, waited=False)
    player.act("swipe TAG-1")
    player.act("wait 1000")
    assert attempts.moments == [0, 60, 180]  # the example of 3.7.1


def test_what_the_csms_will_never_take_is_given_up_at_once() -> None:
    player = charging(variables=QUIET)
    attempts = Attempts(player, 99, waited=False, is_final=True)
    player.act("suspend ev")
    player.act("wait 1000")
    assert attempts.moments == [0]
    assert len(player.core.queue.given_up) == 1


def test_other_messages_overtake_one_that_waits_and_transaction_messages_do_not() -> None:
    player = charging(variables=QUIET)
    Attempts(player, 1, waited=False)
    player.act("suspend ev")
    assert lines_of(player.act("swipe TAG-9")) == ["authorize TAG-9"]
    assert lines_of(player.act("unplug")) == ["status 1 Available"]
    assert lines_of(player.act("wait 10")) == [
        "Updated 2 ChargingStateChanged SuspendedEV",
        "Ended 3 EVCommunicationLost Idle EVDisconnected Begin:1 End:1",
    ]


def test_16_binds_the_id_of_a_transaction_that_began_offline_when_it_is_known() -> None:
    player = Player("1.6", tokens=GROUP)
    player.act("plug")
    player.act("swipe TAG-1")
    player.act("swipe TAG-1")
    player.act("unplug")
    player.act("offline")
    for words in ("plug", "swipe TAG-1", "wait 60", "swipe TAG-1", "unplug"):
        assert player.act(words) == []
    assert lines_of(player.act("online")) == [
        "start 1 TAG-1 0 Wh",
        "meter 1 transaction 2 Periodic:9",
        "stop 2 Local 183 Wh TAG-1 Begin:1 Periodic:1 End:1",
    ]


@pytest.mark.parametrize(
    ("variables", "token", "effect"),
    [
        ({}, "TAG-1", "authorized"),  # the cache knows it
        ({}, "TAG-9", "refused"),
        ({"AuthCtrlr.LocalAuthorizeOffline": False}, "TAG-1", "refused"),
        ({"AuthCtrlr.OfflineTxForUnknownIdEnabled": True}, "TAG-9", "authorized"),
        ({"AuthCtrlr.OfflineTxForUnknownIdEnabled": True}, "TAG-BLOCKED", "refused"),
        ({"AuthCacheCtrlr.Enabled": False}, "TAG-1", "refused"),
    ],
)
def test_tokens_while_offline(variables: dict[str, object], token: str, effect: str) -> None:
    player = Player(variables=variables, tokens={**GROUP, "TAG-BLOCKED": TokenInfo("Blocked")})
    player.act("plug")
    player.act("swipe TAG-BLOCKED")
    player.act("swipe TAG-1")
    player.act("swipe TAG-1")
    player.act("offline")
    player.act(f"swipe {token}")
    assert (player.core.evses[1].charging_state == "Charging") == (effect == "authorized")


def test_a_token_accepted_offline_and_refused_afterwards_ends_the_transaction() -> None:
    player = Player(variables={"AuthCtrlr.OfflineTxForUnknownIdEnabled": True}, tokens={"TAG-9": TokenInfo("Blocked")})
    player.act("plug")
    player.act("offline")
    player.act("swipe TAG-9")
    player.act("wait 60")
    assert lines_of(player.act("online"))[-1] == "Ended 3 Deauthorized EVConnected DeAuthorized Begin:1 End:1"
    assert player.said[-1][1].get("offline") is None


def test_connectors_are_reported_after_an_offline_time_if_they_changed_or_if_it_was_long() -> None:
    player = Player(evses=[Evse(), Evse()])
    player.act("offline")
    player.act("plug 1")
    player.act("wait 30")
    assert lines_of(player.act("online")) == ["status 1 Occupied"]
    player.act("offline")
    player.act("unplug 1")
    player.act("plug 1")
    assert lines_of(player.act("online")) == []
    player.act("offline")
    player.act("wait 61")
    assert lines_of(player.act("online")) == ["status 1 Occupied", "status 2 Available"]


def test_a_full_queue_drops_every_second_update_and_never_a_start_or_an_end() -> None:
    player = charging()
    player.core.queue._limit = 20
    player.act("offline")
    player.act("wait 3000")
    player.act("swipe TAG-1")
    dropped = [message.report.kind for message in player.core.queue.dropped if message.report]
    assert dropped
    assert set(dropped) == {"Updated"}
    said = [payload for action, payload in player.act("online") if action == "TransactionEvent"]
    numbers = [payload["seqNo"] for payload in said]
    assert len(numbers) <= 21
    assert numbers == sorted(numbers)
    assert said[-1]["eventType"] == "Ended"


def test_of_what_is_dropped_or_given_up_the_last_hundred_are_kept() -> None:
    player = charging()
    queue = player.core.queue
    queue._limit = 150
    player.act("offline")
    player.act("wait 30000")
    waiting = [message.report for message in queue]
    assert queue.dropped_count > 100
    assert len(queue.dropped) == 100
    assert player.core.transactions[0].given_up == queue.dropped_count
    player.answers = lambda message, said: Failure(message, is_final=True)
    player.act("online")
    assert [message.report for message in queue.given_up] == waiting[-100:]
    assert player.core.transactions[0].given_up == queue.dropped_count + len(waiting)


def test_a_queue_has_a_number_and_a_state_to_look_at() -> None:
    queue = MessageQueue(Player().core.variables)
    assert len(queue) == 0
    assert not queue.ready(0)
    assert queue.take(0) is None


FAULTS = ["offline", "online", "no answer", "error", "answer"]
ACTS = [
    "plug",
    "swipe TAG-1",
    "swipe TAG-9",
    "unplug",
    "suspend ev",
    "resume ev",
    "wait 5",
    "wait 100",
    "fault Other",
    "clear fault",
]


@settings(max_examples=1000)
@given(
    steps=st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from(FAULTS)), max_size=30),
    version=st.sampled_from(["2.0.1", "1.6"]),
)
def test_whatever_is_lost_messages_arrive_in_order_and_gaps_are_said(
    steps: list[tuple[str, str]], version: str
) -> None:
    player = Player(version, tokens=GROUP)
    how = ["answer"]

    def answer(message: Outgoing, said: Said) -> Answer | Failure | None:
        if how[0] == "no answer":
            return None
        if how[0] == "error":
            return Failure(message)
        if message.report is not None:
            assert message not in done
            done.append(message)
        return player.answer(message, said)

    done: list[Outgoing] = []
    player.answers = answer
    online = True
    for act, fault in steps:
        if fault in ("offline", "online"):
            if (fault == "online") != online:
                online = fault == "online"
                player.act(fault)
        else:
            how[0] = fault
        try:
            player.act(act)
        except ValueError:
            continue
    how[0] = "answer"
    if not online:
        player.act("online")
    player.act("wait 3600")
    assert len(player.core.queue) == 0
    missing: dict[str, set[int]] = defaultdict(set)
    for message in player.core.queue.given_up:
        if message.report is not None:
            missing[message.report.transaction.key].add(message.report.seq_no)
    for key, messages in itertools.groupby(
        sorted(done, key=lambda message: message.report.transaction.key if message.report else ""),
        key=lambda message: message.report.transaction.key if message.report else "",
    ):
        numbers = [message.report.seq_no for message in messages if message.report]
        assert numbers == sorted(set(numbers))
        assert set(numbers) | missing[key] >= set(range(max(numbers) + 1))


# -- Power ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "stop"),
    [("2.0.1", "Ended 3 AbnormalCondition EVConnected PowerLoss Begin:1 End:1"), ("1.6", "stop 1 PowerLoss 183 Wh")],
)
def test_a_power_loss_ends_the_transaction_and_is_told_after_the_boot(version: str, stop: str) -> None:
    player = charging(version)
    player.act("wait 60")
    assert player.do(PowerOff()) == []
    assert player.act("wait 600") == []
    lines = lines_of(player.do(Accepted()))
    assert any(line.startswith(stop) for line in lines), lines
    assert player.core.evses[1].reading_wh(player.now) == 183
    assert player.core.transactions[0].end_wh == 183
    assert lines_of(player.act("swipe TAG-1"))[0] == "authorize TAG-1"


def test_a_transaction_that_needs_its_vehicle_only_survives_a_power_loss() -> None:
    player = charging(variables={"TxCtrlr.TxStopPoint": "EVConnected", **QUIET})
    player.do(PowerOff())
    player.act("wait 600")
    assert "Updated 2 ChargingStateChanged EVConnected" in lines_of(player.do(Accepted()))
    assert lines_of(player.act("swipe TAG-1")) == [
        "authorize TAG-1",
        "Updated 3 Authorized TAG-1",
        "Updated 4 ChargingStateChanged Charging",
    ]
    assert lines_of(player.act("unplug"))[-1].startswith("Ended 5 EVCommunicationLost")


def test_a_vehicle_that_leaves_while_there_is_no_power_ends_the_transaction() -> None:
    player = charging(variables={"TxCtrlr.TxStopPoint": "EVConnected"})
    player.do(PowerOff())
    assert player.act("unplug") == []
    assert "Ended 2 AbnormalCondition Idle PowerLoss Begin:1 End:1" in lines_of(player.do(Accepted()))


def test_a_token_without_power_does_nothing() -> None:
    player = Player()
    player.act("plug")
    player.do(PowerOff())
    swipe = Swipe(IdToken("TAG-1"))
    assert player.do(swipe) == []
    assert swipe.result is not None
    assert swipe.result.reason == "the station has no power"


def late_answer(player: Player, event: Event, *, is_known: bool) -> None:
    """Let the power go while the CSMS looks at a token, and its answer come after that; then the power comes back."""
    player.core.handle(event, player.now)
    message = player.core.take(player.now)
    assert message is not None
    player.core.handle(PowerOff(), player.now)
    if not is_known:
        player.core.handle(Answer(message, TokenInfo("Accepted")), player.now)
    player.do(Accepted())
    player.act("wait 600")


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("is_known", [False, True])
def test_an_answer_about_a_token_is_too_late_when_the_power_is_gone(
    is_known: bool, is_remote: bool, version: str
) -> None:
    ask_first = {"1.6": "AuthorizeRemoteTxRequests", "2.0.1": "AuthCtrlr.AuthorizeRemoteStart"}[version]
    player = Player(version, variables={ask_first: True})
    token = player.core.dialect.token("TAG-1", "ISO14443")
    if is_known:
        for act in ("plug", "swipe TAG-1", "unplug"):
            player.act(act)
    player.act("plug")
    ended = list(player.core.transactions)
    late_answer(player, RemoteStart(token, 5, 1) if is_remote else Swipe(token), is_known=is_known)
    assert player.core.evses[1].power_kw(player.now) == 0
    assert player.core.transactions == ended


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_a_known_token_without_power_and_without_an_evse_does_nothing(version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    for act in ("plug 1", "swipe TAG-1", "unplug 1"):
        player.act(act)
    player.do(PowerOff())
    swipe = Swipe(player.core.dialect.token("TAG-1", "ISO14443"))
    assert player.do(swipe) == []
    assert swipe.result is not None
    assert swipe.result.reason == "the station has no power"
    player.act("plug 2")
    player.do(Accepted())
    assert player.core.evses[2].power_kw(player.now) == 0


@pytest.mark.parametrize("version", ["2.0.1", "1.6"])
def test_a_token_is_refused_when_the_station_has_gone_out_of_service_meanwhile(version: str) -> None:
    player = Player(version, [Evse(), Evse()])
    swipe = Swipe(player.core.dialect.token("TAG-1", "ISO14443"))
    player.core.handle(swipe, player.now)
    message = player.core.take(player.now)
    assert message is not None
    player.core.handle(ChangeAvailability(is_operative=False, with_parts=version == "1.6"), player.now)
    player.core.handle(Answer(message, TokenInfo("Accepted")), player.now)
    assert swipe.result is not None
    assert (swipe.result.effect, swipe.result.reason) == ("refused", "each EVSE is broken or out of service")


# -- The local list ---------------------------------------------------------------------------------------------------


def send_list(player: Player, version: int, kind: str, entries: dict[str, str | None]) -> str:
    """Send a local list of tokens and statuses; None takes a token out."""
    if player.core.dialect.version.name == "1.6":
        items = [
            {"id_tag": name, **({} if status is None else {"id_tag_info": {"status": status}})}
            for name, status in entries.items()
        ]
        answer, _ = player.command(
            "SendLocalList", list_version=version, update_type=kind, local_authorization_list=items
        )
    else:
        items = [
            {
                "id_token": {"id_token": name, "type": "ISO14443"},
                **({} if status is None else {"id_token_info": {"status": status}}),
            }
            for name, status in entries.items()
        ]
        answer, _ = player.command(
            "SendLocalList", version_number=version, update_type=kind, local_authorization_list=items
        )
    return str(answer.status)


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
def test_the_local_list_is_replaced_changed_and_counted(version: str) -> None:
    player = Player(version)
    assert send_list(player, 3, "Full", {"TAG-1": "Accepted", "TAG-2": "Blocked"}) == "Accepted"
    assert send_list(player, 3, "Differential", {"TAG-3": "Accepted"}) == "VersionMismatch"
    assert send_list(player, 4, "Differential", {"TAG-3": "Accepted", "TAG-2": None}) == "Accepted"
    assert len(player.core.local_list) == 2
    assert send_list(player, 0, "Full", {}) == "Failed"
    answer, _ = player.command("GetLocalListVersion")
    assert 4 in vars(answer).values()
    assert send_list(player, 5, "Full", {f"TAG-{number}": "Accepted" for number in range(1001)}) == "Failed"
    assert send_list(player, 5, "Full", {}) == "Accepted"
    assert len(player.core.local_list) == 0


@pytest.mark.parametrize(("token", "is_charging"), [("TAG-1", True), ("TAG-2", False), ("TAG-3", False)])
def test_the_local_list_decides_offline_and_goes_before_the_cache(token: str, is_charging: bool) -> None:
    player = Player()
    player.act("plug")
    player.act("swipe TAG-2")  # so that the cache knows it as accepted
    player.act("swipe TAG-2")
    send_list(player, 1, "Full", {"TAG-1": "Accepted", "TAG-2": "Blocked"})
    player.act("offline")
    player.act(f"swipe {token}")
    assert (player.core.evses[1].charging_state == "Charging") == is_charging


def test_a_list_that_is_off_counts_for_nothing() -> None:
    player = Player()
    send_list(player, 1, "Full", {"TAG-1": "Accepted"})
    player.core.variables.set("LocalAuthListCtrlr.Enabled", False)
    assert send_list(player, 2, "Full", {}) == "Failed"
    player.act("plug")
    player.act("offline")
    player.act("swipe TAG-1")
    assert player.core.evses[1].charging_state == "EVConnected"


def test_the_csms_may_ask_whether_messages_wait() -> None:
    player = charging()
    key = player.core.transactions[0].key

    def status(**fields: object) -> tuple[bool, bool | None]:
        answer, _ = player.command("GetTransactionStatus", **fields)
        return answer.messages_in_queue, answer.ongoing_indicator

    assert status() == (False, None)
    assert status(transaction_id=key) == (False, True)
    assert status(transaction_id="another") == (False, False)
    player.act("offline")
    player.act("wait 60")
    assert status() == (True, None)
    assert status(transaction_id=key) == (True, True)
    assert status(transaction_id="another") == (False, False)
    player.act("swipe TAG-1")
    assert status(transaction_id=key) == (True, False)
    player.act("online")
    assert status(transaction_id=key) == (False, False)
