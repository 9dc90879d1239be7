"""The short cut through the opening handshake, compared with websockets on the same addresses and answers."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from conftest import MS, SOON
from csms_stub import Csms, raw_server
from websockets.client import ClientProtocol
from websockets.http11 import USER_AGENT
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from cpsim_kit.charge_point.opening import _plain_site, _site, open_websocket
from cpsim_kit.charge_point.websocket import WebSocket
from cpsim_kit.errors import ConnectError

OCPP = Subprotocol("ocpp2.0.1")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = accept_key(KEY).encode()
LIMITS = {"ping_interval": None, "ping_timeout": None, "close_timeout": 50 * MS}


async def connect(url: str, **options: object) -> WebSocket:
    options = {"subprotocol": OCPP, "headers": {}, "ssl": None, "compression": None, "open_timeout": SOON} | options
    return await open_websocket("CP1", url, **options, **LIMITS)  # type: ignore[arg-type]


# -- The request ------------------------------------------------------------------------------------------------------

ADDRESSES = [
    "ws://127.0.0.1:9000/CP1",
    "ws://csms.example/CP1",
    "ws://csms.example:80/ocpp/v2/CP%201",
    "wss://csms.example/CP1",
    "wss://csms.example:8443/CP1?token=a%3Db",
    "ws://[::1]:9000/CP1",
    "ws://CSMS.example",
    "ws://csms.example/a//b/",
]


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic Q1AxOnBhc3M=", "X-Model": "a b"}], ids=["", "headers"]
)
@pytest.mark.parametrize("url", ADDRESSES)
def test_the_request_is_that_of_websockets(url: str, headers: dict[str, str]) -> None:
    protocol = ClientProtocol(parse_uri(url), subprotocols=[OCPP])
    protocol.key = KEY
    request = protocol.connect()
    request.headers.update(headers)
    request.headers.setdefault("User-Agent", USER_AGENT)
    site = _plain_site(url, OCPP)
    assert site is not None
    assert site.request(url, KEY, headers) == request.serialize()


@pytest.mark.parametrize(
    "url",
    [
        "ws://csms.example/über",
        "ws://h/a b",
        "ws://h/a\r\nX: y",
        "ws://h/a#b",
        "ws://h?a=b/c",
        "ws://h/\x7f",
        "ws://user:pass%20word@csms.example/CP1",
    ],
)
def test_an_address_that_is_not_plain_is_for_websockets(url: str) -> None:
    assert _plain_site(url, OCPP) is None


async def test_credentials_of_the_address_are_sent(csms: Csms) -> None:
    transport = await connect(csms.url.replace("ws://", "ws://CP1:secret@") + "/CP1")
    transport.abort()
    assert csms.requests[0].headers["Authorization"] == "Basic Q1AxOnNlY3JldA=="


async def test_no_password_stays_in_the_cache_of_sites(csms: Csms) -> None:
    _site.cache_clear()
    for name in ("CP1", "CP2"):
        transport = await connect(f"{csms.url}/{name}", headers={"Authorization": f"Basic {name}"})
        transport.abort()
    transport = await connect(csms.url.replace("ws://", "ws://CP3:secret@") + "/CP3")
    transport.abort()
    assert [request.headers["Authorization"] for request in csms.requests[:2]] == ["Basic CP1", "Basic CP2"]
    assert _site.cache_info().currsize == 1
    assert "Authorization" not in repr(_plain_site(f"{csms.url}/CP1", OCPP))


# -- The answer -------------------------------------------------------------------------------------------------------


def answer(*lines: bytes, status: bytes = b"HTTP/1.1 101 Switching Protocols", accept: bytes = ACCEPT) -> bytes:
    return b"\r\n".join([status, *lines, b"Sec-WebSocket-Accept: " + accept, b"", b""])


UPGRADE, CONNECTION = b"Upgrade: websocket", b"Connection: Upgrade"
SUBPROTOCOL = b"Sec-WebSocket-Protocol: ocpp2.0.1"

PLAIN = {
    "as the stub answers": answer(UPGRADE, CONNECTION),
    "with the subprotocol": answer(UPGRADE, CONNECTION, SUBPROTOCOL),
    "with other fields": answer(b"Date: Mon, 23 Nov 2026 10:00:00 GMT", b"Server: x", UPGRADE, CONNECTION, SUBPROTOCOL),
    "in other capitals": answer(b"upgrade: WebSocket", b"CONNECTION:upgrade", b"sec-websocket-protocol:  ocpp2.0.1 "),
    "without a reason": answer(UPGRADE, CONNECTION, status=b"HTTP/1.1 101 "),
    "with a frame behind": answer(UPGRADE, CONNECTION) + b"\x81\x02hi",
}
NOT_PLAIN = {
    "keep-alive too": answer(UPGRADE, b"Connection: keep-alive, Upgrade"),
    "a field twice": answer(UPGRADE, CONNECTION, b"X: 1", b"X: 2"),
    "the subprotocol twice": answer(UPGRADE, CONNECTION, SUBPROTOCOL, SUBPROTOCOL),
    "another subprotocol": answer(UPGRADE, CONNECTION, b"Sec-WebSocket-Protocol: ocpp1.6"),
    "two subprotocols": answer(UPGRADE, CONNECTION, SUBPROTOCOL + b", ocpp1.6"),
    "an extension": answer(UPGRADE, CONNECTION, b"Sec-WebSocket-Extensions: permessage-deflate"),
    "an upgrade to something else": answer(b"Upgrade: h2c", CONNECTION),
    "two upgrades": answer(UPGRADE, b"Upgrade: h2c", CONNECTION),
    "no upgrade": answer(CONNECTION),
    "no connection": answer(UPGRADE),
    "an empty connection": answer(UPGRADE, b"Connection:"),
    "another key": answer(UPGRADE, CONNECTION, accept=accept_key("x").encode()),
    "a key in small letters": answer(UPGRADE, CONNECTION, accept=ACCEPT.lower()),
    "no accept": b"\r\n".join([b"HTTP/1.1 101 OK", UPGRADE, CONNECTION, b"", b""]),
    "HTTP/1.0": answer(UPGRADE, CONNECTION, status=b"HTTP/1.0 101 Switching Protocols"),
    "no reason and no space": answer(UPGRADE, CONNECTION, status=b"HTTP/1.1 101"),
    "200": answer(UPGRADE, CONNECTION, status=b"HTTP/1.1 200 OK"),
    "1012": answer(UPGRADE, CONNECTION, status=b"HTTP/1.1 1012 Very"),
    "a line without a colon": answer(UPGRADE, CONNECTION, b"nonsense"),
    "a name with a space": answer(b"Upgrade : websocket", CONNECTION),
    "a folded line": answer(UPGRADE, CONNECTION, b"X: y", b" z"),
    "a control character": answer(UPGRADE, CONNECTION, b"X: \x00"),
    "bytes above ASCII": answer(UPGRADE, CONNECTION, b"X: \xe4"),
    "only line feeds": answer(UPGRADE, CONNECTION).replace(b"\r\n", b"\n"),
    "a long line": answer(UPGRADE, CONNECTION, b"X: " + b"y" * 9000),
    "many lines": answer(UPGRADE, CONNECTION, *(b"X-%d: y" % number for number in range(200))),
    "cut short": answer(UPGRADE, CONNECTION)[:-2],
    "nothing": b"",
    "a frame": b"\x81\x02hi",
}


def judged_by_websockets(data: bytes) -> tuple[State, str | None, str]:
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/CP1"), subprotocols=[OCPP])
    protocol.key = KEY
    protocol.receive_data(data)
    return protocol.state, protocol.subprotocol, str(protocol.handshake_exc)


@pytest.mark.parametrize("data", [*PLAIN.values(), *NOT_PLAIN.values()], ids=[*PLAIN, *NOT_PLAIN])
async def test_an_answer_is_judged_as_by_websockets(data: bytes) -> None:
    connection, rest = _site("ws://127.0.0.1", OCPP).connection(data, KEY, LIMITS)
    protocol = connection._protocol
    is_plain = protocol.state is State.OPEN
    assert is_plain == (data in PLAIN.values()), "nothing that is plain takes the long way, and nothing else the short"
    protocol.receive_data(rest)
    subprotocol = connection.subprotocol if is_plain else protocol.subprotocol
    assert (protocol.state, subprotocol, str(protocol.handshake_exc)) == judged_by_websockets(data)


# -- The long way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect"])
async def test_a_redirect_is_followed(csms: Csms, status: bytes) -> None:
    reply = b"HTTP/1.1 %s\r\nLocation: %s/elsewhere\r\nContent-Length: 0\r\n\r\n" % (status, csms.url.encode())
    async with raw_server(reply) as server:
        transport = await connect(f"ws://127.0.0.1:{server.port}/CP1")
    assert csms.requests[0].path == "/elsewhere"
    assert transport.subprotocol == OCPP
    await transport.close()


# -- TLS --------------------------------------------------------------------------------------------------------------


async def test_the_systems_authorities_are_those_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificates are read only once, as that is slow, but a change of the environment takes effect."""
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    async with Csms(ssl=served) as csms:
        for _ in range(2):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
            transport = await connect(f"{csms.url}/CP1")
            await transport.close()
            monkeypatch.delenv("SSL_CERT_FILE")
            with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await connect(f"{csms.url}/CP1")
