"""Logs as AWS Lambda writes them to CloudWatch Logs in its text format, and what is read of them."""

import itertools
from typing import Any

import pytest

from cpsim_kit.aws.function_log import invocations, text

ONE, TWO, THREE = (f"{n * 8}-0000-4000-8000-{n * 12}" for n in "123")


def log(*messages: str, stream: str = "2026/11/27/[$LATEST]a", start: int = 1_764_267_000_000) -> list[dict[str, Any]]:
    """Events a millisecond apart."""
    moments = itertools.count(start)
    return [{"timestamp": next(moments), "message": message, "logStreamName": stream} for message in messages]


def report(request_id: str, rest: str = "") -> str:
    numbers = "Duration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 71 MB\t"
    return f"REPORT RequestId: {request_id}\t{numbers}{rest}\n"


def start(request_id: str) -> str:
    return f"START RequestId: {request_id} Version: $LATEST\n"


def end(request_id: str) -> str:
    return f"END RequestId: {request_id}\n"


INIT = "INIT_START Runtime Version: python:3.9.v64\tRuntime Version ARN: arn:aws:lambda:eu-west-1::runtime:0a1b\n"
TRACEBACK = (
    "[ERROR] ZeroDivisionError: division by zero\nTraceback (most recent call last):\n"
    '\xa0\xa0File "/var/task/message_processor.py", line 9, in lambda_handler\n\xa0\xa0\xa0\xa01/0'
)
CAUGHT = [  # what traceback.print_exc() prints
    "Traceback (most recent call last):",
    '  File "/var/task/message_processor.py", line 9, in lambda_handler',
    "KeyError: 'idToken'",
]
LOGGED = f"[ERROR]\t2026-11-27T18:19:52.029Z\t{ONE}\tthe charge point said nonsense\n"
TIMED_OUT = f"2026-11-27T18:19:52.029Z {TWO} Task timed out after 3.00 seconds\n\n"


def test_a_good_invocation_has_its_numbers() -> None:
    events = log(INIT, start(ONE), "hello\n", end(ONE), report(ONE, "Init Duration: 345.67 ms\t"))
    [found] = invocations(events)
    assert (found.request_id, found.ended, found.error) == (ONE, True, "")
    assert (found.duration_ms, found.billed_ms, found.memory_mb) == (12.34, 13, 71)
    assert text(events) == ["hello"]


def test_the_beginning_is_that_of_the_start_line_or_before_the_end_by_the_duration() -> None:
    events = log(start(ONE), end(ONE), report(ONE))
    events[2]["timestamp"] += 13
    [found] = invocations(events)
    assert found.started_at.timestamp() * 1000 == events[0]["timestamp"]
    at_once = [{**event, "timestamp": events[0]["timestamp"]} for event in events]  # as the local stack writes it
    [found] = invocations(at_once)
    assert found.started_at.timestamp() * 1000 == events[0]["timestamp"] - 12


def test_an_exception_is_the_error_of_its_invocation() -> None:
    events = log(start(ONE), end(ONE), report(ONE), start(TWO), TRACEBACK, end(TWO), report(TWO))
    assert [each.error for each in invocations(events)] == ["", "ZeroDivisionError: division by zero"]
    assert text(events) == [
        "[ERROR] ZeroDivisionError: division by zero",
        "Traceback (most recent call last):",
        '  File "/var/task/message_processor.py", line 9, in lambda_handler',
        "    1/0",
    ]


def test_what_a_logger_writes_is_no_failure() -> None:
    events = log(start(ONE), LOGGED, end(ONE), report(ONE))
    assert [each.error for each in invocations(events)] == [""]
    assert text(events) == [LOGGED.strip()]


@pytest.mark.parametrize(
    "printed",
    [
        ["[ERROR] station unknown, skipped"],
        ["[ERROR] KeyError: 'idToken'"],
        ["[ERROR] KeyError"],
        ["[ERROR] KeyError: 'idToken'", *CAUGHT],
        ["[ERROR] KeyError: 'idToken'\n" + "\n".join(CAUGHT)],
        ["[ERROR] KeyError: 'idToken'", *CAUGHT, "goes on"],
        ["[ERROR] " + "\n".join(CAUGHT)],
        ["Traceback (most recent call last):", '  File "x.py", line 9, in f'],
    ],
)
def test_what_a_handler_prints_that_succeeds_is_no_failure(printed: list[str]) -> None:
    events = log(start(ONE), *printed, end(ONE), report(ONE))
    assert [each.error for each in invocations(events)] == [""]


def test_an_exception_is_told_from_what_was_printed_before_it() -> None:
    printed = "[ERROR] KeyError: 'idToken'", *CAUGHT, "[ERROR] station unknown, skipped"
    events = log(start(ONE), *printed, TRACEBACK, end(ONE), report(ONE))
    assert [each.error for each in invocations(events)] == ["ZeroDivisionError: division by zero"]


def test_an_exception_is_an_error_however_its_lines_come() -> None:
    """Its text may have several lines; the local stack makes each line an event, AWS all of them one."""
    several = TRACEBACK.replace("division by zero", "division\n  by\nzero")
    for lines in (several.split("\n"), [several], [several.replace("\n", "\r")]):
        events = log(start(ONE), *lines, end(ONE), report(ONE))
        assert [each.error for each in invocations(events)] == ["ZeroDivisionError: division"]
    without_text = TRACEBACK.replace("ZeroDivisionError: division by zero", "Timeout")
    assert [each.error for each in invocations(log(start(ONE), without_text, end(ONE), report(ONE)))] == ["Timeout"]


def test_what_another_thread_prints_after_the_end_changes_nothing() -> None:
    events = log(start(ONE), TRACEBACK, end(ONE), "late\n", report(ONE), "later\n", start(TWO), end(TWO), report(TWO))
    assert [each.error for each in invocations(events)] == ["ZeroDivisionError: division by zero", ""]


def test_a_timeout_is_an_error() -> None:
    events = log(start(TWO), TIMED_OUT, end(TWO), report(TWO, "Status: timeout"))
    assert [each.error for each in invocations(events)] == ["Task timed out after 3.00 seconds"]
    assert text(events) == [TIMED_OUT.strip()]
    [without_its_id] = invocations(log(start(TWO), "Task timed out after 1.00 seconds", end(TWO), report(TWO)))
    assert without_its_id.error == "Task timed out after 1.00 seconds"
    [known_by_its_report] = invocations(log(start(TWO), end(TWO), report(TWO, "Status: timeout")))
    assert known_by_its_report.error == "timeout"


def test_a_process_that_ends_is_an_error() -> None:
    ended = f"RequestId: {ONE} Error: Runtime exited with error: exit status 1\nRuntime.ExitError\n"
    events = log(start(ONE), ended, end(ONE), report(ONE, "Status: error\tError Type: Runtime.ExitError\t"))
    assert [each.error for each in invocations(events)] == [
        "Runtime.ExitError: Runtime exited with error: exit status 1"
    ]
    [known_by_its_report] = invocations(
        log(start(ONE), end(ONE), report(ONE, "Status: error\tError Type: Runtime.X\t"))
    )
    assert known_by_its_report.error == "Runtime.X"


def test_an_error_of_import_is_the_error_of_the_invocation_that_it_fails() -> None:
    error = "[ERROR] Runtime.ImportModuleError: Unable to import module 'message_processor': No module named 'x'\n"
    before = log(INIT, error, start(ONE), end(ONE), report(ONE, "Status: error"))
    inside = log(INIT, start(ONE), error, end(ONE), report(ONE))
    for events in (before, inside):
        assert [each.error for each in invocations(events)] == [error.strip().removeprefix("[ERROR] ")]
    healed = log(error, start(ONE), end(ONE), report(ONE), start(TWO), end(TWO), report(TWO, "Status: error"))
    assert [each.error for each in invocations(healed)] == ["", "error"]


def test_two_environments_that_run_at_once_are_told_apart_by_their_streams() -> None:
    first = log(start(ONE), TRACEBACK, end(ONE), report(ONE), stream="a")
    second = log(start(TWO), "fine\n", end(TWO), report(TWO), stream="b")
    both = [event for pair in zip(first, second, strict=True) for event in pair]
    assert {each.request_id: bool(each.error) for each in invocations(both)} == {ONE: True, TWO: False}


def test_one_that_runs_has_no_numbers_yet_and_the_end_alone_of_one_is_not_counted() -> None:
    events = log(end(ONE), report(ONE), start(TWO), "at work\n")
    [found] = invocations(events)
    assert (found.request_id, found.ended, found.duration_ms, found.error) == (TWO, False, None, "")
    assert text(events) == ["at work"]


def test_what_a_function_prints_can_look_like_anything() -> None:
    odd = [
        "REPORT\n",
        "START\n",
        "[ERROR] \n",
        "[ERROR]\n",
        "",
        "\n",
        f"REPORT RequestId: {THREE}\n",
        "Duration: x ms\n",
    ]
    events = log(start(ONE), *odd, end(ONE), "REPORT RequestId: " + ONE + "\tDuration: many ms\n")
    [found] = invocations(events)
    assert (found.ended, found.duration_ms, found.memory_mb, found.error) == (True, None, None, "")
    assert text(events) == ["REPORT", "START", "[ERROR]", "[ERROR]", "Duration: x ms"]


def test_nothing_is_nothing() -> None:
    assert (text([]), invocations([])) == ([], [])
