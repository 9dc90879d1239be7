"""What of a connection can be changed while it is open, or for the next one: the keepalive, and the password."""

from __future__ import annotations

import ssl

import pytest
from conftest import MS, SOON, until
from csms_stub import Csms

from cpsim_kit import Network
from cpsim_kit.charge_point import ChargePoint
from cpsim_kit.errors import WaitTimeout


@pytest.mark.parametrize("transport", [None, Network()], ids=["plain", "network"])
async def test_a_new_keepalive_interval_counts_at_once(csms: Csms, transport: Network | None) -> None:
    options = {} if transport is None else {"transport": transport}
    async with ChargePoint(
        "CP1", csms.url, ping_interval=None, ping_timeout=20 * MS, close_timeout=20 * MS, **options
    ) as cp:
        cp.ping_interval = 20 * MS
        csms.link.stop_reading()
        closed = await cp.wait_closed(SOON)
        assert (closed.code, closed.reason) == (1011, "keepalive ping timeout")
        await cp
        assert cp.ping_interval == 20 * MS
        csms.link.stop_reading()
        await cp.wait_closed(SOON)  # the next connection has it, too


async def test_no_interval_turns_the_keepalive_off(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, ping_interval=20 * MS, ping_timeout=20 * MS, close_timeout=20 * MS) as cp:
        cp.ping_interval = None
        csms.link.stop_reading()
        with pytest.raises(WaitTimeout):
            await cp.wait_closed(100 * MS)


@pytest.mark.parametrize("seconds", [0, -1, "20"])
def test_an_interval_is_above_zero(seconds: float) -> None:
    cp = ChargePoint("CP1", "ws://127.0.0.1:1")
    with pytest.raises((ValueError, TypeError), match="CP1: ping_interval="):
        cp.ping_interval = seconds
    assert cp.ping_interval == 20


async def test_another_password_is_used_for_the_next_connection(csms: Csms) -> None:
    async with ChargePoint("CP1", csms.url, password="secret", headers={"X-Model": "M"}) as cp:
        cp.set_password("other")
        await cp.close()
        await cp
        await until(lambda: len(csms.requests) == 2)
        before, after = (request.headers for request in csms.requests)
        assert (before["Authorization"], after["Authorization"]) == ("Basic Q1AxOnNlY3JldA==", "Basic Q1AxOm90aGVy")
        assert after["X-Model"] == "M"


def test_an_identity_with_a_colon_has_no_password() -> None:
    with pytest.raises(ValueError, match="an id with a colon"):
        ChargePoint("CP:1", "ws://127.0.0.1:1").set_password("secret")


@pytest.mark.parametrize(
    ("url", "options", "profile"),
    [
        ("ws://127.0.0.1:1", {}, 0),
        ("ws://127.0.0.1:1", {"password": "secret"}, 1),
        ("wss://127.0.0.1:1", {}, 0),
        ("wss://127.0.0.1:1", {"password": "secret"}, 2),
        ("wss://127.0.0.1:1", {"ssl": ssl.create_default_context()}, 3),
    ],
)
def test_the_security_profile_is_told_by_tls_and_password(url: str, options: dict[str, object], profile: int) -> None:
    assert ChargePoint("CP1", url, **options).security_profile == profile  # type: ignore[arg-type]
