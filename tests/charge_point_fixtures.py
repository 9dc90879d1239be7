"""What tests of charge points share: one that is connected, a CSMS with TLS, and a limit of time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import trustme
from conftest import SOON
from csms_stub import (
    Csms,
    Link,
)
from ocpp.v201 import call, call_result

from cpsim_kit.charge_point.charge_point import ChargePoint

NOT_REGISTERED = "Charge Point CP1 not registered as an IoT Thing"
CLEAR_CACHE = call.ClearedChargingLimit(charging_limit_source="CSO")  # some CALL that is no heartbeat
RESET = {"type": "Immediate"}


@pytest.fixture
async def no_hang() -> AsyncIterator[None]:
    """Cancel a test that waits for ever, so that it fails."""

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
    """What the CSMS sent before this has been handled after it, and what the charge point sent to it has arrived."""
    await cp.heartbeat()
    await cp.heartbeat()


def gateway_closes(code: int, reason: str) -> Callable[[ChargePoint, Link], Coroutine[Any, Any, None]]:
    return lambda cp, link: link.ws.close(code, reason)


async def gateway_aborts(cp: ChargePoint, link: Link) -> None:
    link.abort()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A CSMS that wants a client certificate: OCPP's security profile 3."""
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
