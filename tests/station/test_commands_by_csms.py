"""Each command from a CSMS that was not made by the kit: what the station says then, and that it breaks no rule."""

from __future__ import annotations

import contextlib

import pytest
from commanded_station import ask, check, commanded, do, said, settle, words
from commands_by_hand import CASES, ROWS, Row, is_by_the_clock
from conftest import SOON, until

from cpsim_kit.station.dialects.refusals import csms_actions

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.mark.parametrize("version", ROWS)
def test_every_command_of_the_version_is_played(version: str) -> None:
    assert {row.action for row in ROWS[version]} == csms_actions(version)


def is_quick(version: str, row: Row) -> bool:
    """What 2.1 has in common with 2.0.1, and what changes nothing, is looked at where there is more time."""
    return version != "2.1" and bool(row.follows)


@pytest.mark.parametrize(
    ("version", "row"),
    [
        pytest.param(
            version,
            row,
            id=f"{version} {row.name}".replace(" ", "_"),
            marks=[] if is_quick(version, row) else [pytest.mark.slow],
        )
        for version, row in CASES
    ],
)
async def test_what_follows_a_command(version: str, row: Row) -> None:
    async with commanded(version) as play:
        for act in row.before:
            await do(play, act)
        since = len(play.csms.messages)
        status, answer = await ask(play, row.ask(play))
        assert status == row.answer
        for act in row.after:
            await do(play, act)
        await play.station.until(minutes=row.minutes)

        def seen() -> list[str]:
            return words([each for each in said(play.csms, since) if not is_by_the_clock(*each)])

        with contextlib.suppress(AssertionError):  # the next line says more
            await until(lambda: len(seen()) >= len(row.follows), seen, SOON / 10)
        assert seen() == list(row.follows)
        if row.check is not None:
            assert row.check(answer, said(play.csms, since)) is not False
        await settle(play)
        check(play)
