"""The log of a Lambda function as CloudWatch Logs has it: what the function printed, and its invocations. Pure.

AWS Lambda developer guide, "Log and monitor Python Lambda functions" (the text format): each invocation begins with a
START line and ends with END and REPORT. An exception that nothing caught is the last thing that is written before END:
``[ERROR]`` with its type and text, and a traceback whose frames are indented, without the line of the exception that
Python's own tracebacks end with. So it is told from what a handler prints. ``Runtime.…`` are the runtime's own errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Invocation", "invocations", "text"]

Event = Mapping[str, Any]  # as FilterLogEvents returns it: timestamp (ms), message, logStreamName

_OF_LAMBDA = re.compile(
    r"(START|END|REPORT) RequestId: |INIT_START |INIT_REPORT |RESTORE_START |RESTORE_REPORT |XRAY TraceId: "
    r"|EXTENSION\t|TELEMETRY\t"
)
_LINE = re.compile(r"(START|END|REPORT) RequestId: ([\w-]+)")
_ERROR = re.compile(r"\[ERROR\] ([^\W\d][\w.]*(:.*)?)$")  # what a logger writes has a tab there
_TRACEBACK = "Traceback (most recent call last):"
# The first as AWS says it, the second as the local stack does.
_EXITED = re.compile(r"RequestId: ([\w-]+) Error: (Runtime exited .*)|Worker process died$")
_TIMED_OUT = re.compile(r"(?:\S+Z ([\w-]+) )?(Task timed out after [\d.]+ seconds)$")


@dataclass
class Invocation:
    """An invocation of a function.

    Attributes:
        request_id: Its id.
        started_at: When it began, UTC.
        ended: Whether it has ended.
        duration_ms: How long it took; None while it runs.
        billed_ms: What AWS charges for; None while it runs.
        memory_mb: The most memory that the function has used; None while it runs.
        error: Why it failed, e.g. "ZeroDivisionError: division by zero"; "" if it did not.
    """

    request_id: str
    started_at: datetime
    ended: bool = False
    duration_ms: float | None = None
    billed_ms: float | None = None
    memory_mb: float | None = None
    error: str = ""


def text(events: Iterable[Event]) -> list[str]:
    """The lines that the function wrote, without those of AWS Lambda about its invocations."""
    return [line for event in events for line in _lines(event) if not _OF_LAMBDA.match(line)]


def invocations(events: Iterable[Event]) -> list[Invocation]:
    """The invocations whose beginning is among the events, by their beginnings."""
    found: dict[str, Invocation] = {}
    now: dict[str, Invocation | None] = {}  # by log stream: each is of one execution environment, which does one thing
    written: dict[str, list[str]] = {}  # by log stream: the lines of that one
    early: dict[str, str] = {}  # by log stream: an error before the first invocation, while the module was imported
    for event in events:
        stream = event.get("logStreamName", "")
        for line in _lines(event):
            if match := _LINE.match(line):
                kind, request_id = match.groups()
                if kind == "START":
                    started_at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                    written[stream] = []
                    now[stream] = found.setdefault(request_id, Invocation(request_id, started_at))
                elif (invocation := found.get(request_id)) is not None:
                    invocation.ended = True
                    invocation.error = invocation.error or _failure(written.get(stream, []))
                    if kind == "REPORT":
                        _report(invocation, line, event["timestamp"], early.pop(stream, ""))
                        now[stream] = None
            elif match := _TIMED_OUT.match(line):
                timed_out = found.get(match[1]) if match[1] else now.get(stream)
                if timed_out is not None:
                    timed_out.error = match[2]
            elif match := _EXITED.match(line):
                exited = found.get(match[1]) if match[1] else now.get(stream)
                if exited is not None:
                    exited.error = f"Runtime.ExitError: {match[2] or 'Runtime exited'}"
            elif now.get(stream) is not None:
                written[stream].append(line)
            elif match := _ERROR.match(line):
                early[stream] = match[1]
    return sorted(found.values(), key=lambda each: each.started_at)


def _failure(lines: list[str]) -> str:
    """The exception that ended an invocation, by all that it has written; "" if it has succeeded."""
    unindented = (line for line in reversed(lines) if line and not line.startswith(" "))
    has_traceback = next(unindented, "") == _TRACEBACK
    for line in reversed(lines):
        if (match := _ERROR.match(line)) and (has_traceback or match[1].startswith("Runtime.")):
            return match[1]
    return ""


def _report(invocation: Invocation, line: str, timestamp: int, early: str) -> None:
    """Take the numbers of a REPORT line, and the error where no other line has said it.

    The local stack writes all lines of an invocation at its end: the beginning is before that by the duration.
    """
    fields = {name: value.strip() for name, _, value in (part.partition(": ") for part in line.split("\t"))}
    invocation.duration_ms = _number(fields.get("Duration"))
    ended_at = datetime.fromtimestamp(timestamp / 1000, UTC)
    invocation.started_at = min(
        invocation.started_at, ended_at - timedelta(milliseconds=int(invocation.duration_ms or 0))
    )
    invocation.billed_ms = _number(fields.get("Billed Duration"))
    invocation.memory_mb = _number(fields.get("Max Memory Used"))
    if (status := fields.get("Status", "success")) != "success" and not invocation.error:
        invocation.error = fields.get("Error Type") or early or status


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value.split()[0])  # with its unit
    except (ValueError, IndexError):
        return None


def _lines(event: Event) -> Iterator[str]:
    """The lines of an event; a traceback is one event, whose indents are spaces that do not break."""
    message = str(event.get("message", "")).replace("\xa0", " ")
    yield from (line.rstrip() for line in message.rstrip().splitlines())
