"""TLS, client certificates, and proxies."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
import trustme
from charge_point_fixtures import PROXIES, client_tls, without_proxies
from csms_stub import (
    Csms,
    raw_server,
)

from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.errors import (
    ConnectError,
)

pytestmark = pytest.mark.usefixtures("no_hang")


async def test_a_client_certificate_identifies_the_charge_point(secure_csms: Csms, authority: trustme.CA) -> None:
    context = client_tls(authority, authority)
    async with ChargePoint("CP1", secure_csms.url, ssl=context) as cp:
        await cp.heartbeat()
        certificate = secure_csms.link.ws.transport.get_extra_info("peercert")
    assert ((("commonName", "CP1"),)) in certificate["subject"]


async def test_a_gateway_of_an_unknown_authority_is_not_trusted(secure_csms: Csms, authority: trustme.CA) -> None:
    cp = ChargePoint("CP1", secure_csms.url, ssl=client_tls(trustme.CA(), authority))
    with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        await cp
    assert "not of an authority that is trusted here. Whom to trust, ssl= says: ssl=ssl.create" in str(caught.value)
    assert "Is the stack running" not in str(caught.value)


async def test_without_a_context_the_systems_authorities_decide(secure_csms: Csms) -> None:
    with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await ChargePoint("CP1", secure_csms.url)


async def test_a_certificate_for_another_name_is_not_trusted(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("csms.example").configure_cert(context)
    async with Csms(ssl=context) as csms:
        with pytest.raises(ConnectError, match=r"IP address mismatch.* Its certificate is for another address"):
            await ChargePoint("CP1", csms.url, ssl=client_tls(authority, None))
        with pytest.raises(ConnectError, match=r"Hostname mismatch.* Its certificate is for another name"):
            await ChargePoint("CP1", csms.url.replace("127.0.0.1", "localhost"), ssl=client_tls(authority, None))


async def test_a_certificate_that_has_expired_is_not_trusted(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(context)
    async with Csms(ssl=context) as csms:
        with pytest.raises(ConnectError, match="Its certificate has expired; is the clock of this computer right"):
            await ChargePoint("CP1", csms.url, ssl=client_tls(authority, None))


@pytest.mark.parametrize("stranger", [False, True], ids=["none", "of another authority"])
async def test_without_a_good_client_certificate_it_does_not_open(
    secure_csms: Csms, authority: trustme.CA, stranger: bool
) -> None:
    context = client_tls(authority, trustme.CA() if stranger else None)
    with pytest.raises(ConnectError, match=r"Does it ask for a client certificate\? The context in ssl= has one"):
        await ChargePoint("CP1", secure_csms.url, ssl=context)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_is_used_on_this_machine(
    csms: Csms, secure_csms: Csms, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    without_proxies(monkeypatch)
    async with raw_server(b"") as proxy:
        for name in PROXIES[:-1]:
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        async with ChargePoint("CP1", csms.url.replace("127.0.0.1", host)) as cp:
            await cp.heartbeat()
        context = client_tls(authority, authority)
        async with ChargePoint("CP1", secure_csms.url.replace("127.0.0.1", host), ssl=context) as cp:
            await cp.heartbeat()
    assert proxy.received == []


async def test_the_proxy_of_the_environment_is_used_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    async with raw_server(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectError, match="502"):
            await ChargePoint("CP1", "ws://csms.example:9000")
    assert proxy.received[0].startswith(b"CONNECT csms.example:9000 HTTP/1.1\r\n")


async def test_a_proxy_that_needs_another_package_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    monkeypatch.setenv("SOCKS_PROXY", "socks5h://127.0.0.1:1")
    with pytest.raises(ConnectError):
        await ChargePoint("CP1", "ws://csms.example:9000")
