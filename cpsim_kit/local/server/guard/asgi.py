"""HTTP requests and answers as the door sees them: read from ASGI, refuse, send."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

__all__ = ["Answer", "Disconnected", "Refusal", "Request", "error_answer", "read_body", "read_request", "send_answer"]

_LARGEST_BODY = 20 * 2**20  # bytes; the largest request of the kit's services is BatchWriteItem's, 16 MB
_XML_SERVICES = {"s3", "cloudfront", "route53"}  # their errors are XML, which only the credential scope shows

Answer = tuple[int, dict[str, Any], bytes]
"""Status, headers and body."""


@dataclass
class Request:
    """An HTTP request.

    Attributes:
        method: The HTTP method.
        path: The decoded path.
        raw_path: The path as it was sent.
        headers: The headers by their names in lower case.
        query: The parameters of the query by name, each with its values.
        body: The body, once read.
    """

    method: str
    path: str
    raw_path: str
    headers: dict[str, str]
    query: dict[str, list[str]]
    body: bytes = b""


@dataclass(frozen=True)
class Refusal(Exception):
    """The door refuses a request.

    Attributes:
        status: The HTTP status.
        code: AWS's error code.
        text: The reason.
    """

    status: int
    code: str
    text: str


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


def read_request(scope: Any) -> Request:
    """Return the request of an ASGI scope, without its body."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    raw_path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    return Request(scope.get("method", "GET"), scope["path"], raw_path, headers, query)


async def read_body(receive: Any) -> bytes:
    """Return the body of a request.

    Raises:
        Refusal: It is too large.
        Disconnected: The client disconnected.
    """
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _LARGEST_BODY:
            raise Refusal(413, "RequestEntityTooLargeException", f"more than {_LARGEST_BODY} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


def error_answer(refusal: Refusal, request: Request) -> Answer:
    """Return the answer of a refusal in the caller's protocol: XML for the query protocol and S3, else JSON."""
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


async def send_answer(send: Any, status: int, headers: dict[str, Any], body: bytes) -> None:
    """Send an answer, without the headers that allow web pages to read it."""
    lines = [(name.lower(), str(value)) for name, value in headers.items()]
    lines = [line for line in lines if not line[0].startswith("access-control-") and line[0] != "content-length"]
    lines.append(("content-length", str(len(body))))
    encoded = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in lines]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
