"""An AWS access key: what a local stack is opened with, and what signs every request to it. Does no I/O."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import Self

__all__ = ["AccessKey"]


@dataclass(frozen=True)
class AccessKey:
    """An access key id and its secret; the secret is not shown in its repr.

    Attributes:
        id: The access key id, 20 characters like those of AWS.
        secret: The secret access key, 40 characters that need no escaping in a URL.
    """

    id: str
    secret: str = field(repr=False)

    @classmethod
    def random(cls) -> Self:
        """A new key of 75 and 240 random bits."""
        return cls("LOCAL" + base64.b32encode(secrets.token_bytes(10)).decode()[:15], secrets.token_urlsafe(30))
