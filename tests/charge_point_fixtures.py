"""Fixtures for tests of charge points: a connected charge point, a CSMS with TLS, and a time limit."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import trustme
from conftest import SOON
from csms_stub import Behaviour, Call, Csms, Link
from ocpp.v201 import call, call_result

from cpsim_kit.charge_point.charge_point import ChargePoint

NOT_REGISTERED = "Charge Point CP1 not registered as an IoT Thing"
CLEAR_CACHE = call.ClearedChargingLimit(charging_limit_source="CSO")  # any CALL that is not a heartbeat
RESET = {"type": "Immediate"}


@pytest.fixture
async def no_hang() -> AsyncIterator[None]:
    """Cancel a test that waits too long, so that it fails."""

    def cancel_all() -> None:
        for task in asyncio.all_tasks():
            task.cancel("this test waited too long")

    timer = asyncio.get_running_loop().call_later(3 * SOON, cancel_all)
    yield
    timer.cancel()


@pytest.fixture
async def cp(csms: Csms) -> AsyncIterator[ChargePoint]:
    """CP1, connected with OCPP 2.0.1."""
    async with ChargePoint("CP1", csms.url) as cp:
        yield cp


def data_transfer(data: Any) -> call.DataTransfer:
    return call.DataTransfer(vendor_id="test", data=data)


def spawn(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine)


async def reset_accepted(**_: Any) -> call_result.Reset:
    return call_result.Reset(status="Accepted")


async def round_trips(cp: ChargePoint) -> None:
    """Wait until both sides have handled all that the other side sent before."""
    await cp.heartbeat()
    await cp.heartbeat()


def time_is_up(cp: ChargePoint) -> None:
    """Let the CALL that waits for its answer time out now, however long it would have waited.

    With a short limit instead, a slow machine would exceed it with other CALLs, too.
    """
    exchange = cp._exchange
    if exchange._pending is not None:
        exchange._pending.due = -math.inf
        exchange._check_timeout()


def times_out(cp: ChargePoint) -> Behaviour:
    """Never answer: the charge point reads what was sent to it before, and then its CALL times out."""

    async def behave(link: Link, call: Call) -> None:
        await (await link.ws.ping())
        pending = cp._exchange._pending
        assert pending is not None
        assert pending.message_id == call.message_id
        time_is_up(cp)

    return behave


def gateway_closes(code: int, reason: str) -> Callable[[ChargePoint, Link], Coroutine[Any, Any, None]]:
    return lambda cp, link: link.ws.close(code, reason)


async def gateway_aborts(cp: ChargePoint, link: Link) -> None:
    link.abort()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """TLS for a CSMS that asks for a client certificate: OCPP's security profile 3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
async def secure_csms(server_tls: ssl.SSLContext) -> AsyncIterator[Csms]:
    async with Csms(ssl=server_tls) as csms:
        yield csms


def client_tls(trusted: trustme.CA, issuer: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    trusted.configure_trust(context)
    if issuer is not None:
        issuer.issue_cert("CP1.example", common_name="CP1").configure_cert(context)
    return context


PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy", "socks_proxy", "no_proxy")


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
