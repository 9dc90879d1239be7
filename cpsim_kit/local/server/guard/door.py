"""The door of the local AWS endpoint: who may talk to it, and which services answer.

ministack serves whoever reaches its port, and among what it serves are Lambda functions: any web page in the reader's
browser, and any other user of the machine, could run code as the reader. So a request passes only

- to a host name that means this computer, or the stack's own AWS IoT endpoint: no name of a web page that was made to
  point here ("DNS rebinding");
- from no web page but one of this computer: a browser names the page in ``Origin``, and no answer allows others;
- signed with the stack's access key by Signature Version 4, in a header or in the URL (AWS IAM user guide, "AWS
  Signature Version 4 for API requests"), or, for MQTT alone, with the secret as the last part of the path;
- to a service that the kit uses. The rest is answered as unknown.

A service is reached by its credential scope and target alone; ministack's other ways in (host names of buckets and
functions, administration paths) are closed. Knows nothing of ministack: the functions that verify and serve are
handed in.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.basics.addresses import is_loopback

__all__ = ["SERVICES", "Door", "Request"]

logger = logging.getLogger("cpsim.door")

# As ministack calls them. What runs code of the caller's (lambda) or containers is not among them.
SERVICES = frozenset({"cloudformation", "dynamodb", "iam", "iot", "iot-data", "sqs", "sts"})

_LARGEST_BODY = 20 * 2**20  # bytes; the largest request of these services is BatchWriteItem's, 16 MB
_ALGORITHM = "AWS4-HMAC-SHA256"
_LONGEST_LIFE = 604_800  # seconds; X-Amz-Expires
_XML_SERVICES = {"s3", "cloudfront", "route53"}  # whose errors are XML, and whose requests do not show it


@dataclass
class Request:
    """A request of HTTP, with its body.

    Attributes:
        path: Decoded.
        raw_path: As sent.
        headers: By their names in lower case.
        query: By name, each with its values.
    """

    method: str
    path: str
    raw_path: str
    headers: dict[str, str]
    query: dict[str, list[str]]
    body: bytes = b""


@dataclass(frozen=True)
class _Refusal(Exception):
    status: int
    code: str
    text: str


class _Verifier(Protocol):
    """What is used of ``ministack.core.sigv4``."""

    def parse_header_signature(self, headers: Any) -> Any: ...
    def parse_query_signature(self, query_params: Any) -> Any: ...
    def request_time_failure(self, signature: Any) -> tuple[str, str] | None: ...
    def header_signature_failure(self, signature: Any, secret: str, *request: Any, presigned: bool) -> Any: ...


Answer = tuple[int, dict[str, Any], bytes]


class Door:
    """An ASGI application that lets through to another what has a right to it.

    Args:
        key: The stack's access key.
        endpoint_name: The host name of the stack's AWS IoT endpoint, without a port.
        services: Names of the services that answer.
        verifier: Verifies signatures; ``ministack.core.sigv4``.
        service_of: Names the service that a request is for.
        serve: Serves a request; called with a request that passed.
        mqtt: An ASGI application that serves MQTT over WebSockets at the path /mqtt.
        lifespan: An ASGI application that is told of the server's start and end.
    """

    def __init__(
        self,
        key: AccessKey,
        endpoint_name: str,
        *,
        services: Iterable[str] = SERVICES,
        verifier: _Verifier,
        service_of: Callable[[Request], str],
        serve: Callable[[Request], Awaitable[Answer]],
        mqtt: Callable[..., Awaitable[None]],
        lifespan: Callable[..., Awaitable[None]],
    ) -> None:
        self._key = key
        self._endpoint_name = endpoint_name
        self._services = frozenset(services)
        self._verifier = verifier
        self._service_of = service_of
        self._serve = serve
        self._mqtt = mqtt
        self._lifespan = lifespan

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection or request, as ASGI has it."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case _:
                await self._lifespan(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        request = _request(scope)
        try:
            self._check_place(request)
            signature = self._signature(request)
            request.body = await _body(receive)
            self._check_signature(signature, request)
            service = self._service_of(request)
            if service not in self._services:
                served = ", ".join(sorted(self._services))
                text = f"the local stack has no service {signature.service}; it has {served}"
                raise _Refusal(404, "UnknownOperationException", text)
            status, headers, body = await self._serve(request)
        except _Refusal as refusal:
            logger.warning("refused %s: %s", request.method, refusal.text)
            status, headers, body = _error(refusal, request)
        except _Gone:
            return
        await _respond(send, status, headers, b"" if request.method == "HEAD" else body)

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        request = _request(scope)
        try:
            self._check_place(request)
            self._check_mqtt(request)
        except _Refusal as refusal:
            logger.warning("refused a WebSocket: %s", refusal.text)
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered with HTTP 403
            return
        await self._mqtt({**scope, "path": "/mqtt", "raw_path": b"/mqtt"}, receive, send)

    # -- What is checked ----------------------------------------------------------------------------------------------

    def _check_place(self, request: Request) -> None:
        """Refuse another name of this computer, and a page of another."""
        host = request.headers.get("host", "")
        if not is_loopback(f"//{host}") and host.partition(":")[0].lower() != self._endpoint_name:
            raise _Refusal(403, "AccessDeniedException", f"the local stack is not called {host[:100]!r}")
        origin = request.headers.get("origin")
        if origin is not None and not (urlsplit(origin).scheme in {"http", "https"} and is_loopback(origin)):
            text = f"pages of {origin[:100]!r} may not use the local stack"
            raise _Refusal(403, "AccessDeniedException", text)

    def _check_mqtt(self, request: Request) -> None:
        """Refuse an MQTT client without the secret in its path, or a signature."""
        secret = request.path.removeprefix("/mqtt/")
        if secret != request.path and hmac.compare_digest(secret.encode(), self._key.secret.encode()):
            return
        if request.path != "/mqtt":
            raise _Refusal(403, "AccessDeniedException", "MQTT is at /mqtt, signed, or at /mqtt/ and the secret")
        self._check_signature(self._signature(request), request)

    def _signature(self, request: Request) -> Any:
        """The signature's parts, of this stack's key and of this time; not verified yet."""
        authorization = request.headers.get("authorization", "")
        if authorization.startswith(f"{_ALGORITHM} "):
            signature = self._verifier.parse_header_signature(request.headers)
        elif request.query.get("X-Amz-Algorithm") == [_ALGORITHM]:
            signature = self._verifier.parse_query_signature(request.query)
        else:
            text = "Missing Authentication Token: sign with the access key of this local stack"
            raise _Refusal(403, "MissingAuthenticationToken", text)
        if isinstance(signature, tuple):
            raise _Refusal(403, *signature)
        if signature.access_key_id != self._key.id:
            text = (
                "The security token included in the request is invalid: "
                f"{signature.access_key_id[:40]!r} is not the access key of this local stack"
            )
            raise _Refusal(403, "UnrecognizedClientException", text)
        if "host" not in signature.signed_headers.split(";"):
            raise _Refusal(403, "IncompleteSignature", "'Host' must be a 'SignedHeader'")
        if late := self._time_failure(signature, request.query.get("X-Amz-Expires")):
            raise _Refusal(403, *late)
        return signature

    def _time_failure(self, signature: Any, expires: list[str] | None) -> tuple[str, str] | None:
        try:
            signed_at = dt.datetime.strptime(signature.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
            life = None if expires is None else int(expires[0])
        except ValueError:
            return "IncompleteSignature", "the date or the expiry of the signature cannot be read"
        if life is None:
            return self._verifier.request_time_failure(signature)
        age = (dt.datetime.now(dt.UTC) - signed_at).total_seconds()
        if not (0 < life <= _LONGEST_LIFE and -300 <= age <= life):
            return "RequestExpired", f"the signature of {signature.amz_date} is good for {life} s"
        return None

    def _check_signature(self, signature: Any, request: Request) -> None:
        digest = request.headers.get("x-amz-content-sha256")
        if digest is not None and digest != hashlib.sha256(request.body).hexdigest():
            raise _Refusal(403, "InvalidSignatureException", "x-amz-content-sha256 is not the digest of the body")
        presigned = not request.headers.get("authorization", "").startswith(_ALGORITHM)
        failure = self._verifier.header_signature_failure(
            signature,
            self._key.secret,
            request.method,
            request.raw_path,
            request.query,
            request.headers,
            request.body,
            presigned=presigned,
        )
        if failure is not None:
            raise _Refusal(403, "InvalidSignatureException", failure[1])


class _Gone(Exception):
    pass


def _request(scope: Any) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    raw_path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    return Request(scope.get("method", "GET"), scope["path"], raw_path, headers, query)


async def _body(receive: Any) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _LARGEST_BODY:
            raise _Refusal(413, "RequestEntityTooLargeException", f"more than {_LARGEST_BODY} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


def _error(refusal: _Refusal, request: Request) -> Answer:
    """An error in the words of the protocol that the caller speaks: XML for the query protocol and S3, else JSON."""
    code, text = refusal.code, refusal.text
    scope = request.headers.get("authorization", "").partition("Credential=")[2].split("/")
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(text)}</Message></Error></ErrorResponse>"
        return refusal.status, {"content-type": "text/xml"}, body.encode()
    if len(scope) > 3 and scope[3] in _XML_SERVICES:
        body = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
        return refusal.status, {"content-type": "application/xml"}, body.encode()
    headers = {"content-type": "application/json", "x-amzn-errortype": code}
    return refusal.status, headers, json.dumps({"__type": code, "message": text}).encode()


async def _respond(send: Any, status: int, headers: dict[str, Any], body: bytes) -> None:
    """Send an answer, without a word about which web pages may read it."""
    lines = [(name.lower(), str(value)) for name, value in headers.items()]
    lines = [line for line in lines if not line[0].startswith("access-control-") and line[0] != "content-length"]
    lines.append(("content-length", str(len(body))))
    encoded = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in lines]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
