"""Addresses: whether a URL is on this machine, and where MQTT connects. No I/O."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["MqttEndpoint", "is_loopback"]


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine. Such a connection never goes through a proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class MqttEndpoint:
    """Where an MQTT client connects. A presigned path is valid for one connection only.

    Attributes:
        host: The TCP host.
        port: The TCP port.
        path: The path of the WebSocket; on AWS with the signature as its query.
        tls: Whether to use TLS.
        headers: Headers to set in the handshake, e.g. Host.
    """

    host: str
    port: int
    path: str = "/mqtt"
    tls: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address without its signature."""
        return f"{'wss' if self.tls else 'ws'}://{self.host}:{self.port}{self.path.partition('?')[0]}"
