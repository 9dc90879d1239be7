"""The door of the local AWS endpoint: who may use it, and which services answer.

ministack serves everybody who reaches its port, and it can run Lambda functions. Without a door, any web page in the
user's browser and any other user of the computer could run code as the user. So a request passes only if

- its host name means this computer or the stack's own AWS IoT endpoint, and is not the name of a web page that was made
  to point here ("DNS rebinding");
- it does not come from a web page of another computer: a browser names the page in ``Origin``, and no answer allows
  other pages;
- it is signed with the stack's access key (`signatures`) or, for MQTT only, has the secret as last part of its path;
- the kit uses its service. Other services are answered as unknown.

A service is found by the request's credential scope and target only. ministack's other ways in (host names of buckets
and functions, administration paths) are closed. Imports nothing of ministack: the functions that verify and serve are
parameters.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.basics.addresses import is_loopback
from cpsim_kit.local.server.guard.asgi import (
    Answer,
    Disconnected,
    Refusal,
    Request,
    error_answer,
    read_body,
    read_request,
    send_answer,
)
from cpsim_kit.local.server.guard.signatures import Signatures, Verifier

__all__ = ["SERVICES", "Door"]

logger = logging.getLogger("cpsim.door")

# By ministack's names. Services that run the caller's code (lambda) or containers are not among them.
SERVICES = frozenset({"cloudformation", "dynamodb", "iam", "iot", "iot-data", "sqs", "sts"})


class Door:
    """An ASGI application that passes on the allowed requests, and refuses the others.

    Args:
        key: The stack's access key.
        endpoint_name: The host name of the stack's AWS IoT endpoint, without a port.
        services: Names of the services that answer.
        verifier: ``ministack.core.sigv4``.
        service_of: Names the service that a request is for.
        serve: Serves a request that has passed.
        mqtt: An ASGI application that serves MQTT over WebSockets at the path /mqtt.
        lifespan: An ASGI application that gets the events of the server's start and end.
    """

    def __init__(
        self,
        key: AccessKey,
        endpoint_name: str,
        *,
        services: Iterable[str] = SERVICES,
        verifier: Verifier,
        service_of: Callable[[Request], str],
        serve: Callable[[Request], Awaitable[Answer]],
        mqtt: Callable[..., Awaitable[None]],
        lifespan: Callable[..., Awaitable[None]],
    ) -> None:
        self._key = key
        self._endpoint_name = endpoint_name
        self._services = frozenset(services)
        self._signatures = Signatures(key, verifier)
        self._service_of = service_of
        self._serve = serve
        self._mqtt = mqtt
        self._lifespan = lifespan

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection or request."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case _:
                await self._lifespan(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        request = read_request(scope)
        try:
            self._check_origin(request)
            signature = self._signatures.read(request)
            request.body = await read_body(receive)
            self._signatures.verify(signature, request)
            service = self._service_of(request)
            if service not in self._services:
                served = ", ".join(sorted(self._services))
                text = f"the local stack has no service {signature.service}; it has {served}"
                raise Refusal(404, "UnknownOperationException", text)
            status, headers, body = await self._serve(request)
        except Refusal as refusal:
            logger.warning("refused %s: %s", request.method, refusal.text)
            status, headers, body = error_answer(refusal, request)
        except Disconnected:
            return
        await send_answer(send, status, headers, b"" if request.method == "HEAD" else body)

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        request = read_request(scope)
        try:
            self._check_origin(request)
            self._check_mqtt(request)
        except Refusal as refusal:
            logger.warning("refused a WebSocket: %s", refusal.text)
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered with HTTP 403
            return
        await self._mqtt({**scope, "path": "/mqtt", "raw_path": b"/mqtt"}, receive, send)

    # -- Checks -------------------------------------------------------------------------------------------------------

    def _check_origin(self, request: Request) -> None:
        """Refuse a host name that is not this computer's, and a web page of another computer."""
        host = request.headers.get("host", "")
        if not is_loopback(f"//{host}") and host.partition(":")[0].lower() != self._endpoint_name:
            raise Refusal(403, "AccessDeniedException", f"the local stack is not called {host[:100]!r}")
        origin = request.headers.get("origin")
        if origin is not None and not (urlsplit(origin).scheme in {"http", "https"} and is_loopback(origin)):
            text = f"pages of {origin[:100]!r} may not use the local stack"
            raise Refusal(403, "AccessDeniedException", text)

    def _check_mqtt(self, request: Request) -> None:
        """Refuse an MQTT client that has neither the secret in its path nor a signature."""
        secret = request.path.removeprefix("/mqtt/")
        if secret != request.path and hmac.compare_digest(secret.encode(), self._key.secret.encode()):
            return
        if request.path != "/mqtt":
            raise Refusal(403, "AccessDeniedException", "MQTT is at /mqtt, signed, or at /mqtt/ and the secret")
        self._signatures.verify(self._signatures.read(request), request)
