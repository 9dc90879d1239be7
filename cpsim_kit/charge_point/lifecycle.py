"""How a charge point lives: boot until the CSMS accepts it, and connect again after a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
import random as random_module
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from cpsim_kit.charge_point.backoff import Backoff, own_boot_waits
from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.errors import ConnectError, ConnectionLost, WaitTimeout

__all__ = ["boot_until_accepted", "keep_connected"]

T = TypeVar("T")

DEFAULT_BACKOFF = Backoff()


async def boot_until_accepted(
    charge_point: ChargePoint,
    *,
    reason: str = "PowerUp",
    own_waits: Iterator[float] | None = None,
    pause: Callable[[float], Awaitable[object]] | None = None,
    on_wait: Callable[[Any, float], object] | None = None,
) -> Any:
    """Send BootNotification until the CSMS answers Accepted.

    After Pending and Rejected it waits for the interval of the answer, or where that is 0 or less for a time of its
    own, "in a way that avoids flooding". OCPP 1.6, 4.2; OCPP 2.0.1 part 2, B01 to B03.

    Args:
        charge_point: Connected.
        reason: A BootReasonEnumType value, of the first boot; OCPP 1.6 has none.
        own_waits: Seconds to wait where the CSMS does not say, one after the other; 5, 10, … 320 when None.
        pause: Waits so many seconds, at most until the connection ends.
        on_wait: Called with the answer and the seconds before each wait.

    Returns:
        The ``call_result.BootNotification`` that accepts it.

    Raises:
        ConnectionLost: The connection closed, also while it waited.
        CallTimeout, CallFailed, ProtocolViolation: As :meth:`ChargePoint.boot`.
    """
    own_waits = own_boot_waits() if own_waits is None else own_waits
    while (answer := await charge_point.boot(reason=reason)).status != "Accepted":
        seconds = answer.interval if answer.interval > 0 else next(own_waits)
        if on_wait is not None:
            on_wait(answer, seconds)
        if pause is not None:
            await pause(seconds)
        else:
            with contextlib.suppress(WaitTimeout):
                await charge_point.wait_closed(seconds)  # then the next boot says why
    return answer


async def keep_connected(
    charge_point: ChargePoint,
    work: Callable[[ChargePoint], Awaitable[T]],
    *,
    reconnect: Backoff | None = DEFAULT_BACKOFF,
    random: random_module.Random | None = None,
    connect: Callable[[], Awaitable[object]] | None = None,
    pause: Callable[[float, ConnectError | ConnectionLost], Awaitable[object]] | None = None,
) -> T:
    """Connect, do the work, and do both again each time the connection is lost or cannot be opened.

    The waits begin anew after every connection that opened. OCPP 2.0.1 part 4, "Reconnecting".

    Args:
        charge_point: Need not be connected.
        work: Called with the charge point once it is connected; when it returns, so does this.
        reconnect: How long to wait before each new attempt; None for no new attempt.
        random: Of the waits' random part; a new one when None.
        connect: Connects the charge point; ``charge_point.connect`` when None.
        pause: Waits so many seconds, before the next attempt; it is told the error, too.

    Returns:
        What ``work`` returns.

    Raises:
        ConnectError, ConnectionLost: It ended, and ``reconnect`` is None.
        Exception: What else ``work`` raises.
    """
    random = random_module.Random() if random is None else random  # noqa: S311 - waits, no secrets
    waits: Iterator[float] | None = None
    while True:
        try:
            await (charge_point.connect() if connect is None else connect())
            waits = None
            return await work(charge_point)
        except (ConnectError, ConnectionLost) as exc:
            if reconnect is None:
                raise
            waits = waits or reconnect.waits(random)
            seconds = next(waits)
            await (asyncio.sleep(seconds) if pause is None else pause(seconds, exc))
