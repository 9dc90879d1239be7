"""``check_up``: plays all checks against a CSMS, one after the other, and cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from tqdm.auto import tqdm

from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.charge_point.arguments import check_seconds
from cpsim_kit.check_up import v16, v201
from cpsim_kit.check_up.checks import CHECKS, PREFIX, Check, choose
from cpsim_kit.check_up.play import Play
from cpsim_kit.check_up.player import Ledger, NoBill, Player, SendCall
from cpsim_kit.check_up.report import CheckUp, Finding
from cpsim_kit.check_up.verdicts import NOT_TRIED, clean
from cpsim_kit.errors import AwsError, ConnectError, CpsimError, NotFound, NotRegistered
from cpsim_kit.ocpp_j.versions import Version

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StackLike", "check_up"]

logger = logging.getLogger("cpsim.check_up")

_LONGEST_TOKEN = {"1.6": 20, "2.0.1": 36, "2.1": 255}  # characters
_SCRIPTS = {"1.6": v16.SCRIPTS, "2.0.1": v201.SCRIPTS, "2.1": v201.SCRIPTS}


class _Things(Protocol):
    def provisioned(
        self, ids: Iterable[str], *, progress: bool = True
    ) -> AbstractAsyncContextManager[Mapping[str, CpsimError]]: ...


class _Tokens(Protocol):
    async def put(self, token: str, *, status: str = "Accepted") -> object: ...

    async def delete(self, token: str) -> None: ...


class _Transactions(Protocol):
    async def to_frame(self) -> pd.DataFrame: ...


class StackLike(Protocol):
    """What a check-up uses of a ``Stack``."""

    websocket_url: str

    @property
    def things(self) -> _Things: ...

    @property
    def tokens(self) -> _Tokens: ...

    @property
    def transactions(self) -> _Transactions: ...

    def charge_point(self, charge_point_id: str, **options: Any) -> ChargePoint: ...

    async def publish(self, topic: str, payload: list[Any]) -> None: ...


async def check_up(
    target: StackLike | str,
    version: str = "2.0.1",
    checks: Sequence[str] | None = None,
    token: str = "TAG-1",  # noqa: S107 - a card, no password
    *,
    refused_token: str | None = None,
    ledger: Ledger | None = None,
    ids: Sequence[str] | None = None,
    timeout: float = 10,
    progress: bool = True,
    **options: Any,
) -> CheckUp:
    """Play charge points against a CSMS, and tell for each check what is demanded, what was seen, and the verdict.

        report = await check_up(stack)
        report.to_frame(); report.failed; report["offline"].messages

    It sends some hundred messages, with sessions of 1,000 Wh each. Each check has a connection of its own; one that
    fails does not end the others, and its transaction is ended. On a Stack, Things and a blocked token are created, and
    deleted afterwards, also when this is cancelled; what the CSMS itself keeps, e.g. transactions, stays.

    What only a bill can show is looked up in ``stack.transactions``, or by ``ledger``; without them it is not judged,
    and the report says so.

    Args:
        target: A ``Stack``, or the address of a CSMS, ws:// or wss://.
        version: "1.6", "2.0.1" or "2.1"; the AWS gateway speaks the first two.
        checks: Ids of the checks to play; all when None. ``cpsim_kit.check_up.CHECKS`` has the table.
        token: A token that the CSMS accepts.
        refused_token: A token that it does not accept. When None, a blocked one is put into ``stack.tokens`` on a
            Stack, which the CSMS there has to know.
        ledger: ``async def ledger(charge_point_id, transaction_id)``, which returns the Wh that the CSMS bills, or None
            if it has none. The transaction id is a text; in OCPP 1.6 an integer. Where it raises, what the bill shows
            is not tried.
        ids: The charge points' ids, where the CSMS admits known ones only; one is enough. CPSIM-CHECK-01, -02, … when
            None; on a Stack others each time, so that two check-ups do not disturb each other.
        timeout: Seconds to wait for each answer, and for each bill.
        progress: Show a progress bar where it takes more than a second.
        **options: As ``ChargePoint`` takes them, e.g. ``password=``.

    Raises:
        TypeError: The target is neither, ``ledger`` is not a function of two arguments, or an option is not one of
            ``ChargePoint``.
        ValueError: There is no such version or check, or an argument is out of range.
        ConnectError: The first charge point could not connect.
        NotRegistered: The gateway does not know the first charge point's id.
        AwsError: AWS refused to create a Thing or a token.
    """
    chosen = choose(version, checks)
    stack = None if isinstance(target, str) else _checked_stack(target)
    names = _names(version, chosen, ids, own_part="" if stack is None else f"{uuid.uuid4().hex[:4]}-")
    _check_tokens(version, token, refused_token)
    _check_ledger(ledger)
    check_seconds("timeout=", timeout, above_zero=True)
    options = dict[str, Any](version=version, call_timeout=timeout, open_timeout=timeout) | options
    url = target if isinstance(target, str) else target.websocket_url
    for name in names.values():
        ChargePoint(name, url, **options)  # raises if it does not like an option
    await asyncio.to_thread(Version.get(version).load)
    bills: dict[str, Any] = {"ledger": ledger}
    if ledger is None and stack is not None:
        own = _StackLedger(stack)
        bills = {"ledger": own.look, "why_no_bill": own.why_no_bill}
    async with contextlib.AsyncExitStack() as contexts:
        about = "" if refused_token else "no refused token was given"
        if stack is not None:
            failed = await contexts.enter_async_context(stack.things.provisioned(set(names.values()), progress=False))
            if failed:
                raise next(iter(failed.values()))
            if refused_token is None and "refused_token" in names:
                refused_token, about = await contexts.enter_async_context(_blocked_token(stack))

        def make_play() -> Play:
            return Play(
                Version.get(version),
                token,
                datetime.now(UTC),
                lambda: str(uuid.uuid4()),
                refused_token or "",
                about,
                patience=timeout,
            )

        def make_charge_point(name: str) -> ChargePoint:
            return ChargePoint(name, url, **options) if stack is None else stack.charge_point(name, **options)

        findings: list[Finding] = []
        send_call = None if stack is None else _send_call_of(stack)
        not_accepted = ""
        for check in tqdm(chosen, desc=f"check-up, OCPP {version}", unit="", delay=1, disable=not progress):
            if not_accepted:
                findings.append(Finding(check, NOT_TRIED, not_accepted))
                continue
            charge_point, play = make_charge_point(names[check.id]), make_play()
            player = Player(charge_point, timeout=timeout, send_call=send_call, **bills)
            findings.append(await _play(player, charge_point, play, check, is_first=not findings))
            if check.id == "boot" and play.boot_status != "Accepted":
                not_accepted = f"the CSMS did not accept the boot: {play.boot_status or 'no valid answer'}"
    return CheckUp(url, version, tuple(findings))


async def _play(player: Player, charge_point: ChargePoint, play: Play, check: Check, *, is_first: bool) -> Finding:
    began = time.perf_counter()
    try:
        verdict, seen = await player.play(
            _SCRIPTS[check.version][check.id], play, leaves_calls_unanswered=check.id == "unanswered_call"
        )
    except (ConnectError, NotRegistered) as exc:
        if is_first:
            if isinstance(exc, NotRegistered):
                exc.add_note("For a check-up one id that the CSMS knows is enough: ids=[…], or in the shell --cp-id")
            raise
        verdict, seen = NOT_TRIED, f"{charge_point.id} could not connect: {exc}"
    return Finding(check, verdict, clean(seen), time.perf_counter() - began, charge_point.messages)


# -- Arguments ---------------------------------------------------------------------------------------------------------


def _checked_stack(target: Any) -> StackLike:
    if not hasattr(target, "websocket_url") or not hasattr(target, "things"):
        raise TypeError(f"check_up() takes a Stack, or a CSMS's address like ws://host:port, not {target!r}")
    stack: StackLike = target
    return stack


def _names(version: str, chosen: Sequence[Check], ids: Sequence[str] | None, own_part: str) -> dict[str, str]:
    """The charge point's id for each check's id; with a part of its own, it is not that of another check-up."""
    if isinstance(ids, str):
        raise TypeError(f"ids= takes a list of ids, not the string {ids!r}")
    if ids is None:
        numbered = {check.id: f"{PREFIX}{own_part}{number:02}" for number, check in enumerate(CHECKS[version], 1)}
        return {check.id: numbered[check.id] for check in chosen}
    if not ids:
        raise ValueError("ids= is an empty list; one id is enough")
    return dict(zip((check.id for check in chosen), itertools.cycle(ids), strict=False))


def _check_tokens(version: str, *tokens: str | None) -> None:
    longest = _LONGEST_TOKEN[version]
    for token in tokens:
        if token is not None and not (isinstance(token, str) and 0 < len(token) <= longest):
            raise ValueError(f"a token of OCPP {version} is a text of 1 to {longest} characters, not {token!r}")


def _check_ledger(ledger: object) -> None:
    if ledger is None:
        return
    problem = ""
    if not callable(ledger):
        problem = f"not {ledger!r}"
    else:
        with contextlib.suppress(ValueError):  # a signature that Python does not know
            try:
                inspect.signature(ledger).bind("CPSIM-CHECK-01", "a transaction's id")
            except TypeError as exc:
                problem = f"and this one cannot be called so: {exc}"
    if problem:
        raise TypeError(f"ledger= is a function of a charge point's id and a transaction's id, {problem}")


# -- What a stack gives ------------------------------------------------------------------------------------------------


class _StackLedger:
    """Looks at bills in ``stack.transactions``. A reader's own message processor need not write that table."""

    def __init__(self, stack: StackLike) -> None:
        self._stack = stack
        self._is_used = False  # the CSMS has written a transaction of this check-up
        self._is_unused = False  # it has not, although there was time

    async def look(self, charge_point_id: str, transaction_id: str | int) -> float | None:
        try:
            frame = await self._stack.transactions.to_frame()
        except NotFound as exc:
            raise NoBill("the stack has no table of transactions, and no ledger was given") from exc
        except AwsError as exc:
            raise NoBill(str(exc)) from exc
        found = frame[(frame.charge_point_id == charge_point_id) & (frame.transaction_id == str(transaction_id))]
        self._is_used |= len(found) > 0
        if self._is_unused and not self._is_used:  # do not wait again
            raise NoBill(self.why_no_bill())
        energy = found.energy_wh.dropna()
        return float(energy.iloc[0]) if len(energy) else None

    def why_no_bill(self) -> str:
        """Called after waiting for a bill that did not come."""
        self._is_unused = not self._is_used
        return "" if self._is_used else "this CSMS has not written to stack.transactions, and no ledger was given"


def _send_call_of(stack: StackLike) -> SendCall:
    async def send(charge_point_id: str, action: str) -> None:
        await stack.publish(f"{charge_point_id}/out", [2, str(uuid.uuid4()), action, {}])

    return send


@contextlib.asynccontextmanager
async def _blocked_token(stack: StackLike) -> AsyncIterator[tuple[str, str]]:
    """A token that the stack's CSMS does not accept, and where it is from; or "", and why there is none."""
    token = f"CPSIM-NO-{uuid.uuid4().hex[:8]}".upper()
    try:
        await stack.tokens.put(token, status="Blocked")
    except NotFound:
        yield "", "the stack has no table of tokens, and no refused token was given"
        return
    try:
        yield token, "which is Blocked in stack.tokens"
    finally:
        await asyncio.shield(asyncio.create_task(_delete(stack, token), name="cpsim[check_up].delete"))


async def _delete(stack: StackLike, token: str) -> None:
    try:
        await stack.tokens.delete(token)
    except CpsimError as exc:  # stack.close() tries it again
        logger.warning("the token %s could not be deleted: %s", token, exc)
