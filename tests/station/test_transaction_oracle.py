"""The oracle of transaction messages says what part 6's reusable states say, and has an answer to everything."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from transaction_oracle import (
    ACTS,
    DONT_CARE,
    POINTS,
    Expected,
    Reading,
    Situation,
    Values,
    check,
    check_run,
    expected,
    point_sets,
    readings,
)

Event = Mapping[str, Any]

DEFAULT_START = {"PowerPathClosed"}
DEFAULT_STOP = {"EVConnected", "Authorized"}


def event(words: str) -> Event:
    """An event from words: type trigger state [reason] [+token] [+evse] [+remote]; "-" for what is not there."""
    plain = [word for word in words.split() if not word.startswith("+")]
    flags = {word for word in words.split() if word.startswith("+")}
    assert flags <= {"+token", "+evse", "+remote"}
    event_type, trigger, state, *reason = plain
    return {
        "event_type": event_type,
        "trigger_reason": trigger,
        "charging_state": None if state == "-" else state,
        "stopped_reason": reason[0] if reason else None,
        "has_id_token": "+token" in flags,
        "has_evse": "+evse" in flags,
        "has_remote_start_id": "+remote" in flags,
    }


def run(start: set[str], stop: set[str], *steps: tuple[str, list[str]]) -> str:
    acts = [act for act, _ in steps]
    events = [[event(words) for words in said] for _, said in steps]
    difference = check_run(frozenset(start), frozenset(stop), acts, events)
    if not difference:  # what the station said is also right act by act, where the first reading is its own
        first = expected(frozenset(start), frozenset(stop), acts)
        assert [check(*each) for each in zip(first, events, strict=True)] == [""] * len(acts)
    return difference


CABLE_IN = "Started CablePluggedIn EVConnected +evse"
CHARGING = "Updated ChargingStateChanged Charging"
STOPPED = "Updated ChargingStateChanged EVConnected"

Steps = list[tuple[str, list[str]]]

SESSIONS: dict[str, tuple[set[str], set[str], Steps]] = {
    # Tables 427, 428 A, 430 step 9, 432 A, 434.
    "cable first, connection time is billed": (
        {"EVConnected"},
        {"EVConnected"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized - +token", CHARGING]),
            ("suspend_ev", ["Updated ChargingStateChanged SuspendedEV"]),
            ("resume_ev", [CHARGING]),
            ("swipe", ["Updated StopAuthorized - +token", STOPPED]),
            ("unplug", ["Ended EVCommunicationLost Idle Local"]),
        ],
    ),
    "cable first, authorized and charging in one event": (
        {"EVConnected", "Authorized"},
        {"EVConnected"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("unplug", ["Ended EVCommunicationLost Idle EVDisconnected"]),
        ],
    ),
    # Table 430, step 7.
    "cable first, the power path starts by its state": (
        {"PowerPathClosed"},
        {"PowerPathClosed"},
        [
            ("plug_in", []),
            ("swipe", ["Started ChargingStateChanged SuspendedEVSE +token +evse", CHARGING]),
            ("swipe", ["Ended StopAuthorized - Local +token"]),
            ("unplug", []),
        ],
    ),
    # E02.FR.01, FR.20.
    "cable first, the power path starts by the card": (
        DEFAULT_START,
        DEFAULT_STOP,
        [
            ("plug_in", []),
            ("swipe", ["Started Authorized EVConnected +token +evse", CHARGING]),
            ("swipe", ["Updated StopAuthorized Charging", "Ended ChargingStateChanged EVConnected"]),
        ],
    ),
    # E01 S6.
    "cable first, energy starts": (
        {"EnergyTransfer"},
        {"EnergyTransfer"},
        [
            ("suspend_evse", []),
            ("plug_in", []),
            ("swipe", []),
            ("resume_evse", ["Started ChargingStateChanged Charging +token +evse"]),
            ("suspend_ev", ["Ended ChargingStateChanged SuspendedEV StoppedByEV"]),
            ("resume_ev", []),
        ],
    ),
    # Tables 428 A, 430 steps 3 and 9; figure 55.
    "token first, time of use is billed": (
        {"EVConnected", "Authorized"},
        {"EVConnected"},
        [
            ("swipe", ["Started Authorized Idle +token"]),
            ("plug_in", ["Updated CablePluggedIn EVConnected +evse", CHARGING]),
            ("swipe", ["Updated StopAuthorized EVConnected"]),
            ("unplug", ["Ended EVCommunicationLost Idle"]),
        ],
    ),
    # Table 427.
    "token first, the power path": (
        DEFAULT_START,
        DEFAULT_STOP,
        [
            ("swipe", []),
            ("plug_in", ["Started CablePluggedIn Charging +token +evse"]),
            ("unplug", ["Ended EVCommunicationLost Idle EVDisconnected"]),
        ],
    ),
    "token first, energy": (
        {"EnergyTransfer"},
        {"EVConnected"},
        [
            ("swipe", []),
            ("plug_in", ["Started ChargingStateChanged Charging +token +evse"]),
            ("suspend_evse", ["Updated ChargingStateChanged SuspendedEVSE"]),
            ("suspend_ev", []),
            ("resume_evse", ["Updated ChargingStateChanged SuspendedEV"]),
        ],
    ),
    # Tables 428 B, 432 B.
    "remote, cable first": (
        {"EVConnected"},
        {"EVConnected"},
        [
            ("plug_in", [CABLE_IN]),
            ("remote_start", ["Updated RemoteStart - +token +remote", CHARGING]),
            ("remote_stop", ["Updated RemoteStop -", STOPPED]),
            ("remote_start", []),
            ("unplug", ["Ended EVCommunicationLost Idle Remote"]),
        ],
    ),
    "remote first, Authorized": (
        {"Authorized"},
        {"Authorized"},
        [
            ("remote_start", ["Started RemoteStart Idle +token +remote"]),
            ("plug_in", ["Updated CablePluggedIn EVConnected +evse", CHARGING]),
            ("remote_stop", ["Ended RemoteStop EVConnected Remote"]),
        ],
    ),
    # F02.FR.21.
    "remote first, EVConnected": (
        {"EVConnected"},
        {"PowerPathClosed"},
        [
            ("remote_start", []),
            ("plug_in", ["Started RemoteStart EVConnected +token +evse +remote", CHARGING]),
            ("remote_stop", ["Updated RemoteStop -", "Ended ChargingStateChanged EVConnected Remote"]),
        ],
    ),
    # E03.FR.05, TC_E_39, TC_F_04.
    "no car": (
        {"Authorized"},
        {"EVConnected"},
        [
            ("swipe", ["Started Authorized Idle +token"]),
            ("ev_connection_timeout", ["Ended EVConnectTimeout - Timeout"]),
            ("ev_connection_timeout", []),
            ("plug_in", []),
        ],
    ),
    "no car, no transaction": (
        DEFAULT_START,
        DEFAULT_STOP,
        [("swipe", []), ("ev_connection_timeout", []), ("plug_in", [])],
    ),
    # E05.FR.09, .10; errata 6.2.118.
    "invalid, the transaction goes on": (
        {"EVConnected"},
        {"EVConnected"},
        [
            ("plug_in", [CABLE_IN]),
            ("deauthorize", []),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("deauthorize", ["Updated Deauthorized SuspendedEVSE"]),
            ("swipe_other", []),
            ("swipe", ["Updated Authorized Charging +token"]),  # E09.FR.01, C01.FR.23
            ("unplug", ["Ended EVCommunicationLost Idle EVDisconnected"]),
        ],
    ),
    "invalid, the transaction ends": (
        {"Authorized"},
        {"EnergyTransfer"},
        [
            ("swipe", ["Started Authorized Idle +token"]),
            ("deauthorize", ["Ended Deauthorized - DeAuthorized"]),
        ],
    ),
    # C09.FR.03, C01.FR.23.
    "other cards": (
        {"EVConnected"},
        {"EVConnected", "PowerPathClosed"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("swipe_other", []),
            ("swipe_same_group", ["Ended StopAuthorized EVConnected Local +token"]),
        ],
    ),
    "a transaction that nothing ends": (
        {"EVConnected"},
        {"EnergyTransfer"},
        [
            ("plug_in", [CABLE_IN]),
            ("unplug", ["Updated EVCommunicationLost Idle"]),
            ("plug_in", ["Updated CablePluggedIn EVConnected"]),
        ],
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_the_sessions_of_part_6_are_right(name: str) -> None:
    start, stop, steps = SESSIONS[name]
    assert run(start, stop, *steps) == ""


WRONG: dict[str, tuple[set[str], set[str], Steps, str]] = {
    "a start without the card's token": (
        {"EVConnected"},
        {"EVConnected"},
        [("plug_in", [CABLE_IN]), ("swipe", ["Updated Authorized Charging"])],
        "Act 2, swipe: has_id_token is False",
    ),
    "evse a second time": (
        {"EVConnected"},
        {"EVConnected"},
        [("plug_in", [CABLE_IN]), ("swipe", ["Updated Authorized Charging +token +evse"])],
        "has_evse is True",
    ),
    "a start by plug-in where Authorized is the start point": (
        {"Authorized"},
        {"Authorized"},
        [("plug_in", [CABLE_IN])],
        "Act 1, plug_in: an event that is not expected",
    ),
    "a new transaction by itself": (
        {"EVConnected"},
        {"Authorized"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("swipe", ["Ended StopAuthorized EVConnected Local", CABLE_IN]),
        ],
        "an event that is not expected",
    ),
    "a plug-in with the trigger of the card": (
        DEFAULT_START,
        DEFAULT_STOP,
        [("swipe", []), ("plug_in", ["Started Authorized Charging +token +evse"])],
        "trigger_reason is 'Authorized'",
    ),
    "a plug-in that hides the remote start": (
        {"EVConnected"},
        {"EVConnected"},
        [("remote_start", []), ("plug_in", ["Started CablePluggedIn EVConnected +token +evse +remote", CHARGING])],
        "trigger_reason is 'CablePluggedIn'",
    ),
    "charging is never told": (
        {"EVConnected"},
        {"EVConnected"},
        [("plug_in", [CABLE_IN]), ("swipe", ["Updated Authorized - +token"])],
        "no further event, where Updated/ChargingStateChanged/Charging",
    ),
    "Updated where the card ends it": (
        {"EVConnected"},
        {"Authorized"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("swipe", ["Updated StopAuthorized -", STOPPED]),
        ],
        "Act 3, swipe: event_type is 'Updated'",
    ),
    "Ended twice": (
        {"EVConnected"},
        {"Authorized"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("swipe", ["Ended StopAuthorized - Local", "Ended ChargingStateChanged EVConnected Local"]),
        ],
        "Act 3, swipe:",
    ),
    "a remote stop without a reason": (
        {"Authorized"},
        {"Authorized"},
        [("remote_start", ["Started RemoteStart Idle +token +remote"]), ("remote_stop", ["Ended RemoteStop Idle"])],
        "stopped_reason is None",
    ),
    "the state that was told a moment ago": (
        {"EVConnected"},
        {"EVConnected"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("deauthorize", ["Updated Deauthorized EVConnected", STOPPED]),
        ],
        "had charging_state 'EVConnected' already",
    ),
    "Updated where an invalid token ends it": (
        {"Authorized"},
        {"EnergyTransfer"},
        [("swipe", ["Started Authorized Idle +token"]), ("deauthorize", ["Updated Deauthorized Idle"])],
        "event_type is 'Updated'",
    ),
    "a suspension that does not end": (
        {"EnergyTransfer"},
        {"EnergyTransfer"},
        [
            ("plug_in", []),
            ("swipe", ["Started Authorized Charging +token +evse"]),
            ("suspend_ev", ["Updated ChargingStateChanged SuspendedEV"]),
        ],
        "event_type is 'Updated'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_specification_forbids_is_named(name: str) -> None:
    start, stop, steps, said = WRONG[name]
    assert said in run(start, stop, *steps)


BOTH: dict[str, tuple[set[str], set[str], Steps, tuple[str, list[str]], tuple[str, list[str]]]] = {
    # E01.FR.02 against 2.6.6.1: the cable is in since before.
    "a new card, cable still in": (
        {"EVConnected"},
        {"Authorized"},
        [
            ("plug_in", [CABLE_IN]),
            ("swipe", ["Updated Authorized Charging +token"]),
            ("swipe", ["Ended StopAuthorized EVConnected Local"]),
        ],
        ("swipe", ["Started Authorized Charging +token +evse"]),
        ("suspend_ev", ["Updated ChargingStateChanged SuspendedEV"]),
    ),
    # E06.FR.07 against errata 6.2.117: no energy flows.
    "the card again, no car, EnergyTransfer": (
        {"Authorized"},
        {"EnergyTransfer"},
        [("swipe", ["Started Authorized Idle +token"])],
        ("swipe", ["Ended StopAuthorized Idle Local"]),
        ("plug_in", []),
    ),
    # E03.FR.05: the card had ended the authorization.
    "no car after the card has ended it": (
        {"Authorized"},
        {"EVConnected"},
        [("swipe", ["Started Authorized Idle +token"]), ("swipe", ["Updated StopAuthorized Idle"])],
        ("ev_connection_timeout", ["Ended EVConnectTimeout Idle Timeout"]),
        ("plug_in", []),
    ),
    # E09.FR.01 against 2.6.6.2.
    "cable out, never authorized": (
        {"EVConnected"},
        {"Authorized"},
        [("plug_in", [CABLE_IN])],
        ("unplug", ["Ended EVCommunicationLost Idle EVDisconnected"]),
        ("swipe", []),
    ),
}
OTHERWISE: dict[str, tuple[list[str], list[str]]] = {
    "a new card, cable still in": ([], []),
    "the card again, no car, EnergyTransfer": (
        ["Updated StopAuthorized Idle"],
        ["Updated CablePluggedIn EVConnected +evse"],
    ),
    "no car after the card has ended it": ([], ["Updated CablePluggedIn EVConnected +evse"]),
    "cable out, never authorized": (["Updated EVCommunicationLost Idle"], ["Updated Authorized Idle +token"]),
}


@pytest.mark.parametrize("name", BOTH)
def test_both_readings_hold_and_bind_what_follows(name: str) -> None:
    start, stop, before, parting, following = BOTH[name]
    parting_otherwise, following_otherwise = OTHERWISE[name]

    def lines_of(*said: list[str]) -> str:
        steps = [*before, (parting[0], said[0]), (following[0], said[1])]
        events = [[event(words) for words in each] for _, each in steps]
        return check_run(frozenset(start), frozenset(stop), [act for act, _ in steps], events)

    assert lines_of(parting[1], following[1]) == ""
    assert lines_of(parting_otherwise, following_otherwise) == ""
    assert f"Act {len(before) + 2}, {following[0]}" in lines_of(parting[1], following_otherwise)
    assert f"Act {len(before) + 2}, {following[0]}" in lines_of(parting_otherwise, following[1])


def legal(messages: Sequence[Expected], choose: random.Random) -> list[dict[str, Any]]:
    """One of the ways in which the events expected of an act can be sent."""
    form = choose.choice(sorted({each.form for each in messages}) or [""])
    events: list[dict[str, Any]] = []
    for each in messages:
        if each.form not in {"", form} or (each.optional and choose.random() < 0.5):
            continue
        made = {name: one_of(getattr(each, name), choose) for name in event("Updated - -")}
        changed = made["trigger_reason"] == "ChargingStateChanged" and events
        if changed and made["charging_state"] == events[-1]["charging_state"]:
            continue  # no change, so not to be told
        events.append(made)
    return events


def one_of(allowed: Values | bool, choose: random.Random) -> Any:
    if allowed is DONT_CARE:
        return choose.choice([False, True])
    if isinstance(allowed, frozenset):
        return choose.choice(sorted(allowed, key=str))
    return allowed


def runs(count: int, length: int) -> Iterator[tuple[frozenset[str], frozenset[str], list[str], random.Random]]:
    choose = random.Random(20)
    for start in point_sets():
        for stop in point_sets():
            for _ in range(count):
                yield start, stop, choose.choices(ACTS, k=length), choose


def every_reading(start: frozenset[str], stop: frozenset[str]) -> Iterator[tuple[Situation, Reading]]:
    """Each reading of each act, in each situation that some sequence of acts leads to."""
    seen = {Situation()}
    waiting = [Situation()]
    while waiting:
        now = waiting.pop()
        for act in ACTS:
            for reading in readings(start, stop, now, act):
                yield now, reading
                if reading.after not in seen:
                    seen.add(reading.after)
                    waiting.append(reading.after)


def test_there_are_fifteen_sets_of_points() -> None:
    assert len(set(point_sets())) == 15
    assert frozenset(POINTS) in set(point_sets())
    assert frozenset() not in set(point_sets())


@pytest.mark.slow
def test_every_act_has_an_answer_in_every_situation_that_can_come_about() -> None:
    answers = {
        (reading.messages, now.transaction is not None, reading.after.transaction is not None)
        for start in point_sets()
        for stop in point_sets()
        for now, reading in every_reading(start, stop)
    }
    assert len(answers) > 50
    choose = random.Random(1)
    for messages, before, after in answers:
        for _ in range(20):
            said = legal(messages, choose)
            assert check(messages, said) == ""
            assert runs_after(before, said) is after


def runs_after(running: bool, said: list[dict[str, Any]]) -> bool:
    """Whether a transaction runs after these events, which are Started, Updated and Ended in that order."""
    for each in said:
        assert (each["event_type"] == "Started") is not running
        running = each["event_type"] != "Ended"
    return running


def test_runs_in_the_first_reading_are_accepted_as_a_whole() -> None:
    for start, stop, acts, choose in runs(count=10, length=14):
        answer = expected(start, stop, acts)
        assert len(answer) == len(acts)
        said = [legal(messages, choose) for messages in answer]
        assert check_run(start, stop, acts, said) == "", (sorted(start), sorted(stop), acts)


def test_transactions_start_once_and_end_once() -> None:
    ended = 0
    for start, stop, acts, choose in runs(count=10, length=14):
        running, seen_evse, seen_remote = False, False, False
        for messages in expected(start, stop, acts):
            for each in legal(messages, choose):
                assert (each["event_type"] == "Started") is not running
                if each["event_type"] == "Started":
                    running, seen_evse, seen_remote = True, False, False
                    assert each["charging_state"] is not None
                seen_evse = seen_evse or each["has_evse"]
                assert each["charging_state"] in {None, "Idle"} or seen_evse
                assert not (seen_remote and each["has_remote_start_id"])
                seen_remote = seen_remote or each["has_remote_start_id"]
                if each["event_type"] == "Ended":
                    running, ended = False, ended + 1
                else:
                    assert each["stopped_reason"] is None
    assert ended > 500


@pytest.mark.parametrize("name", SESSIONS)
def test_one_event_too_few_or_too_many_is_seen(name: str) -> None:
    start, stop, steps = SESSIONS[name]
    for number, (act, said) in enumerate(steps):
        fewer = [*steps[:number], (act, said[:-1]), *steps[number + 1 :]]
        assert not said or run(start, stop, *fewer)
        more = [*steps[:number], (act, [*said, "Updated ChargingStateChanged Charging"]), *steps[number + 1 :]]
        assert run(start, stop, *more)


def test_an_optional_event_may_be_missing_and_not_be_another() -> None:
    must = Expected(frozenset({"Updated"}), frozenset({"RemoteStop"}), None)
    may = replace(must, trigger_reason=frozenset({"Deauthorized"}), optional=True)
    first, second = event("Updated Deauthorized -"), event("Updated RemoteStop -")
    assert check([may, must], [first, second]) == ""
    assert check([may, must], [second]) == ""
    assert "no further event" in check([may, must], [first])
    assert "not expected" in check([may, must], [second, first])
    assert "trigger_reason is 'Trigger'" in check([may, must], [event("Updated Trigger -")])


def test_an_unknown_act_is_refused() -> None:
    with pytest.raises(ValueError, match="No such act: kick"):
        expected(frozenset({"Authorized"}), frozenset({"Authorized"}), ["kick"])
