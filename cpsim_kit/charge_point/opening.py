"""Opens a charge point's WebSocket: address, TLS, proxy, opening handshake. Knows nothing of OCPP.

``connect()`` of websockets opens a connection that is compressed, goes through a proxy, is redirected, or has its
frames logged. Nearly all connections are plain and take a short cut: the request is made once for all charge points of
a CSMS, as websockets would make it, and a plain answer is checked here. websockets checks every other answer. With the
short cut a fleet boots 1.7 times as fast, 1,000 charge points at once: 2,907 a second against 1,713, and 867 of the
ocpp package, medians of three rounds side by side (``benchmarks.fleet --parts boots``, November 2026).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import functools
import logging
import os
import re
import ssl as ssl_module
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage, InvalidStatus, InvalidURI, NegotiationError, WebSocketException
from websockets.http11 import USER_AGENT
from websockets.proxy import get_proxy
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri
from websockets.utils import accept_key

from cpsim_kit.basics.addresses import is_loopback
from cpsim_kit.charge_point.transport import OtherSubprotocol
from cpsim_kit.charge_point.websocket import WebSocket
from cpsim_kit.errors import ConnectError

__all__ = ["open_websocket"]


async def open_websocket(
    charge_point_id: str,
    url: str,
    *,
    subprotocol: str,
    headers: Mapping[str, str],
    ssl: ssl_module.SSLContext | None,
    compression: str | None,
    open_timeout: float,
    **limits: float | None,  # of the WebSocket
) -> WebSocket:
    """Connect, and do the opening handshake.

    Raises:
        ConnectError: Wrong address, TLS, HTTP status, an option that cannot work, or no answer in time.
        OtherSubprotocol: The other side agrees on a subprotocol that was not offered.
    """
    if ssl is None and url[:4].lower() == "wss:":
        ssl = _default_tls()
    try:
        async with asyncio.timeout(open_timeout):
            site = _plain_site(url, subprotocol) if compression is None else None
            if site is not None and site.is_plain_with(ssl):
                try:
                    return await _open_plain(site, url, headers, ssl, limits)
                except InvalidStatus as exc:
                    if not 300 <= exc.response.status_code < 400:  # websockets follows a redirect
                        raise
            return await _open_by_websockets(url, subprotocol, headers, ssl, compression, limits)
    except InvalidStatus as exc:
        status = exc.response.status_code
        message = f"{charge_point_id}: {url} refused the handshake with HTTP {status}"
        raise ConnectError(f"{message}: {_hint_of_status(exc, subprotocol)}", url=url, status=status) from exc
    except NegotiationError as exc:
        answered = re.fullmatch("unsupported subprotocol: (.*)", str(exc))
        if answered is None:  # the error is about compression
            raise ConnectError(f"{charge_point_id}: cannot connect to {url}: {exc}", url=url) from exc
        raise OtherSubprotocol(answered[1]) from exc
    except TimeoutError as exc:
        message = f"{charge_point_id}: {url} did not answer within {open_timeout:g} s"
        raise ConnectError(message, url=url) from exc
    except (OSError, WebSocketException, ValueError, EOFError, ImportError) as exc:
        if isinstance(exc, InvalidURI):
            exc.uri = "the address"  # a traceback shows the cause too: hide its password
        reason = str(exc) or "the other side hung up"
        hint = _hint_of_error(exc, has_tls=ssl is not None)
        raise ConnectError(f"{charge_point_id}: cannot connect to {url}: {reason}.{hint}", url=url) from exc


_NOT_READY = {
    408: "it timed out",
    425: "it is not ready",
    429: "it has too many requests",
    500: "it has an internal error",
}
_REFUSED = {
    401: "wrong or missing password=",
    403: "not allowed",
    404: "wrong path in the address, or a charge point id that it does not know",
}
_NEVER = frozenset((501, 505))  # not implemented: it does not help to try again


def _hint_of_status(refusal: InvalidStatus, subprotocol: str) -> str:
    """What an HTTP status means, and what to try. RFC 9110, 15; RFC 6585, 4."""
    status = refusal.response.status_code
    if status in _NOT_READY or (status >= 500 and status not in _NEVER):
        why = _NOT_READY.get(status, "the CSMS behind it is not available at the moment")
        return f"the address is right, but {why}; try again{_retry_after(refusal)}"
    if status == 400:
        return f"is this a CSMS's WebSocket address, and does it speak {subprotocol}?"
    return _REFUSED.get(status, "is this a CSMS's WebSocket address?")


def _retry_after(refusal: InvalidStatus) -> str:
    """When to try again, in words; "" if no Retry-After has one of the two forms of RFC 9110, 10.2.3."""
    for value in refusal.response.headers.get_all("Retry-After"):
        if value.isdecimal():
            return f" in {value} s"
        with contextlib.suppress(ValueError):
            return f" after {parsedate_to_datetime(value).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return ""


_NO_TLS = " Does it speak TLS? If not, its address begins with ws://"
# OpenSSL's reasons not to trust a certificate, X509_V_ERR_…; all others concern its authority.
_CERTIFICATES = {
    9: "Its certificate is not valid yet: is the clock of this computer right?",
    10: "Its certificate has expired; is the clock of this computer right?",
    62: "Its certificate is for another name: is that the name to connect to?",
    64: "Its certificate is for another address: is there a name to connect to?",
}


def _hint_of_error(exc: Exception, *, has_tls: bool) -> str:
    """What to try: a space and a sentence; "" if the error needs no hint."""
    if isinstance(exc, ssl_module.SSLCertVerificationError):
        unknown = "Its certificate is from an authority that is not trusted here."
        hint = _CERTIFICATES.get(exc.verify_code, unknown)
        return f" {hint} To trust another authority: ssl=ssl.create_default_context(cafile=…)"
    if isinstance(exc, ssl_module.SSLError):
        return _NO_TLS
    if isinstance(exc, InvalidMessage):
        if has_tls:
            return " Does it ask for a client certificate? Load one into the context of ssl= with load_cert_chain(…)"
        return " Is this a CSMS's WebSocket address? If it speaks TLS, it begins with wss://"
    if isinstance(exc, ConnectionError) and has_tls and not exc.errno:
        return _NO_TLS
    if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
        return " This process cannot open more files: raise its limit with `ulimit -n`, or use more processes."
    return " Is the stack running, and the address right?" if isinstance(exc, OSError) else ""


async def _open_by_websockets(
    url: str,
    subprotocol: str,
    headers: Mapping[str, str],
    ssl: ssl_module.SSLContext | None,
    compression: str | None,
    limits: Mapping[str, Any],
) -> WebSocket:
    options: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
    if is_loopback(url):
        options["proxy"] = None  # connections on this machine never go through a proxy

    def transport(protocol: ClientProtocol, **_options: Any) -> WebSocket:
        return WebSocket(protocol, **limits)

    connection: Any = await connect(
        url,
        subprotocols=[Subprotocol(subprotocol)],
        compression=compression,
        additional_headers=headers,
        open_timeout=None,
        create_connection=transport,  # type: ignore[arg-type]  # it has everything that connect() needs
        **options,
    )
    assert isinstance(connection, WebSocket)
    return connection


# -- The short cut ----------------------------------------------------------------------------------------------------


class _Site(NamedTuple):
    """A CSMS, and the request for a connection to it. Only path, key and headers differ between charge points."""

    uri: WebSocketURI
    subprotocol: str
    is_loopback: bool
    before_key: str
    after_key: str

    def is_plain_with(self, ssl: ssl_module.SSLContext | None) -> bool:
        """Whether the short cut is possible: no proxy, no frames to log, and TLS only for a wss:// address."""
        if (ssl is not None and not self.uri.secure) or _logger.isEnabledFor(logging.DEBUG):
            return False
        return self.is_loopback or get_proxy(self.uri) is None

    def request(self, url: str, key: str, headers: Mapping[str, str]) -> bytes:
        path = "/" + url.partition("://")[2].partition("/")[2]
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if not any(name.lower() == "user-agent" for name in headers):
            fields += f"User-Agent: {USER_AGENT}\r\n"
        return f"GET {path} HTTP/1.1\r\n{self.before_key}{key}{self.after_key}{fields}\r\n".encode("latin-1")

    def connection(self, answer: bytes, key: str, limits: Mapping[str, Any]) -> tuple[WebSocket, bytes]:
        """Make the connection for an answer to the request; return it and the bytes that it still has to parse.

        If the answer is plain and correct, the connection is open. Otherwise its protocol has to check the answer.
        """
        head, end, rest = answer.partition(b"\r\n\r\n")
        fields = _plain_fields(head) if end else {}
        subprotocol = fields.get("sec-websocket-protocol")
        if (
            fields.get("sec-websocket-accept") == accept_key(key)
            and fields.get("upgrade", "").lower() == "websocket"
            and fields.get("connection", "").lower() == "upgrade"
            and "sec-websocket-extensions" not in fields
            and (subprotocol is None or subprotocol == self.subprotocol)
        ):
            return WebSocket(None, subprotocol=subprotocol, **limits), rest
        protocol = ClientProtocol(self.uri, subprotocols=[Subprotocol(self.subprotocol)])
        protocol.key = key
        return WebSocket(protocol, **limits), answer


_logger = logging.getLogger("websockets.client")
_PLAIN = re.compile(rb"HTTP/1\.1 101 [ -~]{,80}(?:\r\n[-A-Za-z0-9]+:[ -~]*)*")


def _plain_fields(head: bytes) -> dict[str, str]:
    """The header fields of a plain 101 answer, by lower-case name; {} for another answer, or if a name occurs twice."""
    if len(head) > 2000 or not _PLAIN.fullmatch(head):
        return {}
    _, *lines = head.decode("ascii").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return fields if len(fields) == len(lines) else {}


def _plain_site(url: str, subprotocol: str) -> _Site | None:
    """The site of an address; None if only websockets can parse the address, or it contains a password."""
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    if not (url.isascii() and url.isprintable()) or " " in url or "#" in url or "?" in authority or "@" in authority:
        return None
    return _site(f"{scheme}://{authority}", subprotocol)


@functools.lru_cache(maxsize=64)
def _site(origin: str, subprotocol: str) -> _Site:
    uri = parse_uri(origin)
    protocol = ClientProtocol(uri, subprotocols=[Subprotocol(subprotocol)])
    _, _, fields = protocol.connect().serialize().decode("latin-1").partition("\r\n")
    before_key, after_key = fields.removesuffix("\r\n").split(protocol.key)
    return _Site(uri, subprotocol, is_loopback(origin), before_key, after_key)


async def _open_plain(
    site: _Site, url: str, headers: Mapping[str, str], ssl: ssl_module.SSLContext | None, limits: Mapping[str, Any]
) -> WebSocket:
    options: dict[str, Any] = {} if ssl is None else {"ssl": ssl, "server_hostname": site.uri.host}
    key = base64.b64encode(os.urandom(16)).decode()
    request = site.request(url, key, headers)
    _, opening = await asyncio.get_running_loop().create_connection(
        lambda: _Opening(site, key, request, limits), site.uri.host, site.uri.port, **options
    )
    try:
        transport = await opening.connection
        await transport.opened()
    except BaseException:
        opening.socket.abort()
        raise
    transport.start_keepalive()
    return transport


class _Opening(asyncio.Protocol):
    """Sends the request. When the first bytes arrive, it makes a :class:`WebSocket`, which takes over the socket.

    Attributes:
        socket: asyncio's transport.
        connection: A future; its result is the :class:`WebSocket`.
    """

    __slots__ = ("_key", "_limits", "_request", "_site", "connection", "socket")

    def __init__(self, site: _Site, key: str, request: bytes, limits: Mapping[str, Any]) -> None:
        self._site = site
        self._key = key
        self._request = request
        self._limits = limits
        self.socket: asyncio.Transport
        self.connection: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.socket = transport  # type: ignore[assignment]
        self.socket.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._hand_over(data)

    def eof_received(self) -> None:
        self._hand_over().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hand_over().connection_lost(exc)

    def _hand_over(self, data: bytes = b"") -> WebSocket:
        connection, rest = self._site.connection(data, self._key, self._limits)
        self.socket.set_protocol(connection)
        connection.connection_made(self.socket)
        connection.data_received(rest)
        if not self.connection.done():  # it may be cancelled
            self.connection.set_result(connection)
        return connection


def _default_tls() -> ssl_module.SSLContext:
    """The default context for wss://. It is kept: reading the system's certificates takes longer than a handshake."""
    return _default_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=4)
def _default_context(_cert_file: str | None, _cert_dir: str | None) -> ssl_module.SSLContext:
    return ssl_module.create_default_context()
