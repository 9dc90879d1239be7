"""``cpsim check``: the check-up of a CSMS, as a table and as JUnit XML."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import textwrap
from collections.abc import Iterable, Iterator

from cpsim_kit.check_up import Check, CheckUp, check_up
from cpsim_kit.check_up.checks import PREFIX, choose
from cpsim_kit.cli.arguments import LOCAL_INTERVAL
from cpsim_kit.cli.stack import how_to_delete, open_stack
from cpsim_kit.cli.terminal import DONE, FAILED

__all__ = ["run", "table_of", "table_of_checks"]

_WIDTH = 120  # columns


def run(options: argparse.Namespace) -> int:
    """Play the checks and print their table."""
    chosen = choose(options.ocpp, options.check or None)  # before a stack is started
    if options.list:
        print("\n".join(table_of_checks(chosen)))
        return DONE
    logging.getLogger("ocpp").setLevel(logging.ERROR)  # the table says what was seen
    options.signals.stopping = "stopping: closing the connection; Ctrl-C again ends at once"
    if options.url is None:
        options.signals.stopping = (
            "stopping: closing the connection, deleting the Things and the token; Ctrl-C again leaves them"
        )
        options.signals.leaving = how_to_delete(
            f"Things whose names begin with {PREFIX}",
            "delete_many([each for each in (await stack.things.list()).charge_point_id "
            f"if each.startswith({PREFIX!r})])",
        )
    report = asyncio.run(options.signals.until_interrupted(_check(options, [check.id for check in chosen])))
    if report is None:
        return DONE
    return _report(report, options)


async def _check(options: argparse.Namespace, checks: list[str]) -> CheckUp:
    async with contextlib.AsyncExitStack() as contexts:
        stack = await contexts.enter_async_context(open_stack(LOCAL_INTERVAL)) if options.url is None else None
        return await check_up(
            options.url if stack is None else stack,
            options.ocpp,
            checks,
            options.token,
            refused_token=options.refused_token,
            ids=options.cp_id or None,
            timeout=options.timeout,
            **({} if options.password is None else {"password": options.password}),
        )


def _report(report: CheckUp, options: argparse.Namespace) -> int:
    status = FAILED if report.failed else DONE
    if options.junit is not None:  # first: the reader of the printed table may have gone
        try:
            report.to_junit_xml(options.junit)
        except OSError as exc:  # e.g. a full disk
            print(f"cpsim check: cannot write {options.junit}: {exc}", file=sys.stderr)
            status = FAILED
    print("\n".join(table_of(report)))
    return status


def table_of(report: CheckUp) -> Iterator[str]:
    """The lines of the printed table: a line per check, more where the text is long."""
    yield from _columns((finding.check.id, finding.verdict, finding.seen) for finding in report)
    yield ""
    yield repr(report)
    for finding in report:
        if finding.check.id in report.failed:
            yield ""
            yield f"{finding.check.id} ({finding.check.requirement})"
            yield from _indented(finding.check.demand)


def table_of_checks(checks: Iterable[Check]) -> Iterator[str]:
    """The lines of ``--list``."""
    for check in checks:
        yield f"{check.id} ({check.requirement})"
        yield from _indented(f"{check.title}. {check.demand}")


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _columns(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Lines with three columns; the last one is wrapped."""
    all_rows = list(rows)
    first, second = (max(len(row[number]) for row in all_rows) + 2 for number in (0, 1))
    for name, verdict, seen in all_rows:
        indent = " " * (first + second)
        yield textwrap.fill(
            seen,
            _WIDTH,
            initial_indent=f"{name:{first}}{verdict:{second}}",
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
