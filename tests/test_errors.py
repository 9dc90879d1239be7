"""The error tree: who is whose child, what each error carries, what its sentence says."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re

import pytest

from cpsim_kit import errors
from cpsim_kit.errors import Closed

PARENTS = {
    "CpsimError": ("Exception",),
    "ConnectError": ("CpsimError",),
    "ConnectionLost": ("CpsimError",),
    "NotRegistered": ("ConnectionLost",),
    "CallFailed": ("CpsimError",),
    "UnsupportedByCsms": ("CpsimError",),
    "ProtocolViolation": ("CpsimError",),
    "Timeout": ("CpsimError", "TimeoutError"),
    "CallTimeout": ("Timeout",),
    "WaitTimeout": ("Timeout",),
    "AwsError": ("CpsimError",),
    "NotFound": ("AwsError",),
    "NoCredentials": ("AwsError",),
    "LocalStackError": ("CpsimError",),
    "FleetError": ("CpsimError",),
}

CLOSED = Closed(1008, "Charge Point CP9 not registered as an IoT Thing", "gateway")
CAUSE = errors.ConnectError("CP3: refused", url="ws://x")

# error, what it carries, what its sentence says: which charge point or thing it is, what happened, what to try
EXAMPLES = [
    (
        errors.ConnectError("CP1: HTTP 403 from ws://h/CP1", url="ws://h/CP1", status=403),
        {"url": "ws://h/CP1", "status": 403},
        ["CP1: HTTP 403 from ws://h/CP1"],
    ),
    (errors.ConnectError("CP1: no answer", url="ws://h/CP1"), {"url": "ws://h/CP1", "status": None}, ["CP1"]),
    (errors.ConnectionLost("CP1: closed with 1006", closed=CLOSED), {"closed": CLOSED}, ["CP1: closed with 1006"]),
    (
        errors.NotRegistered("CP9", closed=CLOSED),
        {"closed": CLOSED, "charge_point_id": "CP9"},
        ["CP9", "1008", CLOSED.reason, 'await stack.things.create("CP9")'],
    ),
    (
        errors.CallFailed("CP1", "Reset", "NotImplemented", "not here", {"a": 1}),
        {"action": "Reset", "code": "NotImplemented", "description": "not here", "details": {"a": 1}},
        ["CP1", "Reset", "CALLERROR", "NotImplemented", "not here"],
    ),
    (
        errors.CallFailed("CP1", "Reset", "InternalError", "", {}),
        {"action": "Reset", "code": "InternalError", "description": "", "details": {}},
        ["CP1", "Reset", "InternalError", "no text"],
    ),
    (
        errors.UnsupportedByCsms("CP1", "Authorize", "Command [Authorize] not implemented."),
        {"action": "Authorize", "text": "Command [Authorize] not implemented."},
        ["CP1", "Command [Authorize] not implemented.", "BootNotification, Heartbeat and StatusNotification"],
    ),
    (
        errors.ProtocolViolation("CP1: too long", action="Boot", path="a.b[0]", text="too long", code="ProtocolError"),
        {"action": "Boot", "path": "a.b[0]", "text": "too long", "code": "ProtocolError"},
        ["CP1: too long"],
    ),
    (
        errors.ProtocolViolation("not JSON", action="", path="", text="not JSON"),
        {"action": "", "path": "", "text": "not JSON", "code": "FormatViolation"},
        ["not JSON"],
    ),
    (
        errors.CallTimeout("CP1", "Heartbeat", "4711", 0.25),
        {"action": "Heartbeat", "message_id": "4711", "waited": 0.25},
        ["CP1", "Heartbeat", "0.25 s", "4711", "Is the CSMS running?", "timeout="],
    ),
    (
        errors.CallTimeout("CP1", "Reset", "4711", 3, hint="Is CP1 connected?"),
        {"action": "Reset", "message_id": "4711", "waited": 3},
        ["CP1", "Reset", "3 s", "4711", "Is CP1 connected?"],
    ),
    (
        errors.WaitTimeout("the shadow of CP1", 10.0, {"version": 3}),
        {"what": "the shadow of CP1", "last_seen": {"version": 3}},
        ["10 s", "the shadow of CP1", "last seen: {'version': 3}"],
    ),
    (
        errors.WaitTimeout("the shadow of CP1", 0.5),
        {"what": "the shadow of CP1", "last_seen": None},
        ["0.5 s", "the shadow of CP1", "nothing was seen"],
    ),
    (
        errors.WaitTimeout("two messages", 1, []),  # seen, and empty
        {"what": "two messages", "last_seen": []},
        ["last seen: []"],
    ),
    (
        errors.AwsError("iot.create_thing failed", verb="iot.create_thing", code="ThrottlingException"),
        {"verb": "iot.create_thing", "code": "ThrottlingException"},
        ["iot.create_thing failed"],
    ),
    (
        errors.NotFound("no Thing CP9", verb="iot.describe_thing", code="ResourceNotFound", kind="Thing", name="CP9"),
        {"verb": "iot.describe_thing", "code": "ResourceNotFound", "kind": "Thing", "name": "CP9"},
        ["no Thing CP9"],
    ),
    (
        errors.NoCredentials("set AWS_PROFILE", verb="sts.get_caller_identity"),
        {"verb": "sts.get_caller_identity", "code": ""},
        ["set AWS_PROFILE"],
    ),
    (
        errors.LocalStackError("did not start", log="line 1\nline 2"),
        {"log": "line 1\nline 2"},
        ["did not start", "The end of its log:\nline 1\nline 2"],
    ),
    (errors.LocalStackError("has died"), {"log": ""}, ["has died"]),
    (errors.FleetError("none of 2 started", [CAUSE]), {"errors": (CAUSE,)}, ["none of 2 started"]),
]


def classes() -> dict[str, type]:
    """The exceptions that the module defines."""
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
    }


def test_the_tree_is_the_designs() -> None:
    tree = {name: cls for name, cls in classes().items() if name != "CheckpointFailed"}
    assert {name: tuple(base.__name__ for base in cls.__bases__) for name, cls in tree.items()} == PARENTS


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above = {0: "CpsimError"}
    for bars, name in re.findall(r"^ {4}((?:│   |    )*[├└]── )(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(bars) // 4
        above[depth] = name
        drawn[name] = above[depth - 1]
    assert drawn == {name: parents[0] for name, parents in PARENTS.items() if name != "CpsimError"}


@pytest.mark.parametrize("name", PARENTS)
def test_every_error_of_the_kit_is_a_cpsim_error(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.CpsimError)


def test_a_timeout_is_caught_as_pythons_own() -> None:
    for error in (errors.CallTimeout("CP1", "Heartbeat", "1", 1), errors.WaitTimeout("a state", 1)):
        with pytest.raises(TimeoutError):
            raise error


def test_a_refused_registration_is_caught_as_a_lost_connection() -> None:
    with pytest.raises(errors.ConnectionLost) as caught:
        raise errors.NotRegistered("CP9", closed=CLOSED)
    assert caught.value.closed is CLOSED


def test_the_kits_connect_error_is_not_pythons() -> None:
    assert not issubclass(errors.ConnectError, OSError)
    assert not issubclass(errors.ConnectionLost, OSError)


def test_a_notebooks_verdict_is_outside_the_tree() -> None:
    assert errors.CheckpointFailed.__bases__ == (AssertionError,)
    assert not issubclass(errors.CheckpointFailed, errors.CpsimError)


def test_all_is_what_the_module_offers() -> None:
    offered = {
        name
        for name, value in vars(errors).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == errors.__name__
    }
    assert offered == set(errors.__all__)
    assert list(errors.__all__) == sorted(errors.__all__)
    assert offered == {*PARENTS, "CheckpointFailed", "Closed"}


@pytest.mark.parametrize(("error", "carried", "said"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_carries_its_attributes_and_says_which_id_and_what_to_try(
    error: errors.CpsimError, carried: dict[str, object], said: list[str]
) -> None:
    assert vars(error) == carried
    for words in said:
        assert words in str(error)


def test_every_error_with_attributes_has_an_example() -> None:
    assert {type(error).__name__ for error, _, _ in EXAMPLES} == PARENTS.keys() - {"CpsimError", "Timeout"}


def test_every_attribute_stands_in_the_docstring_of_its_class() -> None:
    for error, carried, _ in EXAMPLES:
        documented = "".join(
            inspect.getdoc(cls) or "" for cls in type(error).__mro__ if cls.__module__ == "cpsim_kit.errors"
        )
        for name in carried:
            assert re.search(rf"^ +{name}: ", documented, re.MULTILINE), (type(error), name)


def test_a_violation_gets_the_charge_points_name_and_keeps_the_rest() -> None:
    violation = errors.ProtocolViolation("too long", action="Boot", path="a.b", text="long", code="ProtocolError")
    named = violation.of("CP1", "answer to ")
    assert str(named) == "CP1: answer to too long"
    assert vars(named) == vars(violation)
    assert str(violation) == "too long"


def test_closed_is_a_value() -> None:
    assert Closed(1000, "", "gateway") == Closed(1000, "", "gateway", "sent and received")
    assert Closed(1000, "", "gateway") != Closed(1000, "", "charge point")
    assert len({CLOSED, dataclasses.replace(CLOSED)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLOSED.code = 1000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("own", "refused", "advice"),
    [
        ("CP1", "CP1", 'Create its Thing first: await stack.things.create("CP1")'),
        ("CP1", "CP1/CP1", "the whole path of the address as the id, here CP1/CP1: give ChargePoint(…) the address"),
        ("CP 1", "CP%201", "No Thing can have this id"),
        ("a/b", "a/b", "No Thing can have this id"),
        ("x" * 129, "x" * 79, "No Thing can have this id"),
    ],
)
def test_an_unregistered_charge_point_gets_advice_that_helps(own: str, refused: str, advice: str) -> None:
    reason = f"Charge Point {refused} not registered as an IoT Thing"
    error = errors.NotRegistered(own, closed=Closed(1008, reason, "gateway"))
    assert advice in str(error)
    assert ("things.create" in str(error)) == (own == refused == "CP1")
    assert error.charge_point_id == own


@pytest.mark.parametrize(
    ("closed", "text"),
    [
        (Closed(1008, "no Thing", "gateway"), "1008 no Thing"),
        (Closed(1000, "", "gateway"), "1000"),
        (Closed(1006, "", "network", "no close frame received or sent"), "no close frame received or sent"),
    ],
)
def test_closed_reads_as_code_and_reason_unless_it_has_a_text(closed: Closed, text: str) -> None:
    assert str(closed) == text


@pytest.mark.parametrize(
    "error",
    [
        errors.ConnectError("text", url="ws://a", status=404),
        errors.NotRegistered("CP1", closed=errors.Closed(1008, "why", "gateway")),
        errors.CallFailed("CP1", "Heartbeat", "InternalError", "why", {"a": 1}),
        errors.CallTimeout("CP1", "Heartbeat", "id", 3),
        errors.WaitTimeout("what", 2, [1]),
        errors.NotFound("text", verb="iot.x", code="c", kind="Thing", name="CP1"),
        errors.FleetError("text", [errors.LocalStackError("text", log="log")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_gets_whole_from_one_process_to_another(error: errors.CpsimError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {name: str(value) for name, value in vars(copy).items()} == {n: str(v) for n, v in vars(error).items()}
