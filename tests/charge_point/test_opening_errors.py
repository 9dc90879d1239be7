"""What does not open: addresses, servers and answers that are wrong, each a ConnectError."""

from __future__ import annotations

import socket
import ssl
import traceback
from typing import Any

import pytest
from charge_point_fixtures import without_proxies
from conftest import MS, SOON
from csms_stub import (
    Csms,
    raw_server,
)

from cpsim_kit.charge_point.charge_point import ChargePoint
from cpsim_kit.errors import (
    ConnectError,
)

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000",
        "https://127.0.0.1:9000",
        "127.0.0.1:9000",
        "localhost",
        "",
        "ws://",
        "ws://:9000",
        "ws://[::1",
        "ws://[nonsense]:9000",
        "ws://127.0.0.1:99999",
        "ws://127.0.0.1:port",
        "ws://127.0.0.1:9000#fragment",
        "ws://" + "x" * 70 + ".example",
        "ws://..",
        "ws://user@127.0.0.1:9000",
    ],
)
async def test_a_bad_address_is_a_connect_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    cp = ChargePoint("CP1", url, open_timeout=SOON)
    with pytest.raises(ConnectError, match=r"^CP1: cannot connect to") as caught:
        await cp
    assert (caught.value.url, caught.value.status) == (cp.url, None)
    assert caught.value.__cause__ is not None
    assert repr(cp) == "<ChargePoint CP1 new ocpp2.0.1>"


@pytest.mark.parametrize("address", ["ws://me:secret@127.0.0.1:1", "http://me:secret@127.0.0.1:1"])
async def test_the_password_of_an_address_is_not_in_the_error(address: str) -> None:
    with pytest.raises(ConnectError, match="://…@127") as caught:
        await ChargePoint("CP1", address, open_timeout=SOON)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.url == f"{address}/CP1"


async def test_a_refused_port_is_a_connect_error() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectError, match=r"Is the stack running, and the address right\?") as caught:
            await ChargePoint("CP1", f"ws://127.0.0.1:{bound.getsockname()[1]}")
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_name_that_does_not_resolve_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    with pytest.raises(ConnectError, match=r"cannot connect to ws://nowhere\.invalid:9000/CP1"):
        await ChargePoint("CP1", "ws://nowhere.invalid:9000", open_timeout=2 * SOON)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_server_that_never_answers_is_a_connect_error(scheme: str) -> None:
    async with raw_server() as server:
        cp = ChargePoint("CP1", f"{scheme}://127.0.0.1:{server.port}", open_timeout=30 * MS)
        with pytest.raises(ConnectError, match=r"did not answer within .* s") as caught:
            await cp
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "wrong or missing password="),
        (403, "not allowed"),
        (400, "is this a CSMS's WebSocket address, and does it speak ocpp2.0.1?"),
        (404, "wrong path in the address, or a charge point id that it does not know"),
        (405, "is this a CSMS's WebSocket address?"),
        (426, "is this a CSMS's WebSocket address?"),
        (501, "is this a CSMS's WebSocket address?"),
        (408, "the address is right, but it was too slow; try again"),
        (429, "the address is right, but too many connect to it; try again"),
        (500, "the address is right, but it failed inside; try again"),
        (502, "the address is right, but the CSMS behind it is not there at the moment; try again"),
        (503, "the address is right, but the CSMS behind it is not there at the moment; try again"),
        (504, "the address is right, but the CSMS behind it is not there at the moment; try again"),
        (507, "the address is right, but the CSMS behind it is not there at the moment; try again"),
    ],
)
async def test_a_refused_handshake_tells_the_http_status(status: int, hint: str) -> None:
    async with Csms(status=status) as csms:
        cp = ChargePoint("CP1", csms.url)
        with pytest.raises(ConnectError) as caught:
            await cp
        assert str(caught.value).endswith(f"refused the handshake with HTTP {status}: {hint}")
        assert (caught.value.status, caught.value.url) == (status, csms.url + "/CP1")


@pytest.mark.parametrize(
    ("retry_after", "when"),
    [
        (b"Retry-After: 5", " in 5 s"),
        (b"retry-after:  120 ", " in 120 s"),
        (b"Retry-After: Fri, 31 Dec 2027 23:59:59 GMT", " after 2027-12-31 23:59:59 UTC"),
        (b"Retry-After: soon", ""),
        (b"Retry-After: -1", ""),
        (b"Retry-After:", ""),
    ],
)
async def test_a_refusal_that_says_when_to_try_again_is_repeated(retry_after: bytes, when: str) -> None:
    reply = b"HTTP/1.1 503 Service Unavailable\r\n%s\r\nContent-Length: 5\r\n\r\nsorry" % retry_after
    async with raw_server(reply) as server:
        with pytest.raises(ConnectError) as caught:
            await ChargePoint("CP1", f"ws://127.0.0.1:{server.port}")
    assert str(caught.value).endswith(f"; try again{when}")
    assert caught.value.status == 503


REPLIES = {
    "hangs up": b"",
    "speaks SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "is a web page": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "says 101 to somebody else": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm90IHlvdXJzLCBub3QgeW91cnM=\r\n\r\n"
    ),
    "says 101 to HTTP/2": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "redirects to http": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    "redirects to itself": b"HTTP/1.1 302 Found\r\nLocation: /CP1\r\nContent-Length: 0\r\n\r\n",
    "redirects to nonsense": b"HTTP/1.1 302 Found\r\nLocation: ws://[\r\nContent-Length: 0\r\n\r\n",
    "sends no end of headers": b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 1000,
    "sends one long header": b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 100_000,
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
async def test_a_server_that_is_no_csms_is_a_connect_error(reply: bytes) -> None:
    async with raw_server(reply) as server:
        with pytest.raises(ConnectError, match=r"^CP1: "):
            await ChargePoint("CP1", f"ws://127.0.0.1:{server.port}", open_timeout=SOON)


async def test_tls_to_a_server_without_is_a_connect_error(csms: Csms) -> None:
    with pytest.raises(ConnectError, match=r"the other side hung up\. Does it speak TLS\?"):
        await ChargePoint("CP1", csms.url.replace("ws://", "wss://"))


async def test_no_tls_to_a_server_with_is_a_connect_error(secure_csms: Csms) -> None:
    with pytest.raises(ConnectError, match="If it speaks TLS, it begins with wss://"):
        await ChargePoint("CP1", secure_csms.url.replace("wss://", "ws://"))


@pytest.mark.parametrize(
    "options",
    [
        {"ssl": ssl.create_default_context()},
        {"compression": "zip"},
        {"headers": {"X-Name": "\N{SNOWMAN}"}},
    ],
    ids=["TLS context for ws://", "unknown compression", "header that HTTP cannot carry"],
)
async def test_an_option_that_cannot_work_is_a_connect_error(csms: Csms, options: dict[str, Any]) -> None:
    with pytest.raises(ConnectError):
        await ChargePoint("CP1", csms.url, **options)


async def test_it_may_be_tried_again_after_it_did_not_open() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        cp = ChargePoint("CP1", f"ws://127.0.0.1:{port}")
        for _ in range(2):
            with pytest.raises(ConnectError):
                await cp
