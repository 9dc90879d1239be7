"""Checks that a request is signed with the stack's access key by Signature Version 4, in a header or in the URL.

AWS IAM user guide, "AWS Signature Version 4 for API requests". The arithmetic is ministack's, whose functions are a
parameter.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any, Protocol

from cpsim_kit.aws.access_key import AccessKey
from cpsim_kit.local.server.guard.asgi import Refusal, Request

__all__ = ["Signatures", "Verifier"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_LONGEST_LIFE = 604_800  # seconds; X-Amz-Expires
_CLOCK_SKEW = 300  # seconds by which a presigned URL may be from the future


class Verifier(Protocol):
    """What is used of ``ministack.core.sigv4``."""

    def parse_header_signature(self, headers: Any) -> Any: ...
    def parse_query_signature(self, query_params: Any) -> Any: ...
    def request_time_failure(self, signature: Any) -> tuple[str, str] | None: ...
    def header_signature_failure(self, signature: Any, secret: str, *request: Any, presigned: bool) -> Any: ...


class Signatures:
    """Reads and verifies the signatures of requests.

    Args:
        key: The stack's access key.
        verifier: ``ministack.core.sigv4``.
    """

    def __init__(self, key: AccessKey, verifier: Verifier) -> None:
        self._key = key
        self._verifier = verifier

    def read(self, request: Request) -> Any:
        """Return the parts of a signature that has this stack's key and a valid time; it is not verified yet.

        Raises:
            Refusal: There is no such signature.
        """
        if _is_in_header(request):
            signature = self._verifier.parse_header_signature(request.headers)
        elif request.query.get("X-Amz-Algorithm") == [_ALGORITHM]:
            signature = self._verifier.parse_query_signature(request.query)
        else:
            text = "Missing Authentication Token: sign with the access key of this local stack"
            raise Refusal(403, "MissingAuthenticationToken", text)
        if isinstance(signature, tuple):
            raise Refusal(403, *signature)
        if signature.access_key_id != self._key.id:
            text = (
                "The security token included in the request is invalid: "
                f"{signature.access_key_id[:40]!r} is not the access key of this local stack"
            )
            raise Refusal(403, "UnrecognizedClientException", text)
        if "host" not in signature.signed_headers.split(";"):
            raise Refusal(403, "IncompleteSignature", "'Host' must be a 'SignedHeader'")
        if failure := self._time_failure(signature, request.query.get("X-Amz-Expires")):
            raise Refusal(403, *failure)
        return signature

    def verify(self, signature: Any, request: Request) -> None:
        """Verify the signature of a request with its body.

        Raises:
            Refusal: The signature, or the digest of the body, is wrong.
        """
        digest = request.headers.get("x-amz-content-sha256")
        if digest is not None and digest != hashlib.sha256(request.body).hexdigest():
            raise Refusal(403, "InvalidSignatureException", "x-amz-content-sha256 is not the digest of the body")
        failure = self._verifier.header_signature_failure(
            signature,
            self._key.secret,
            request.method,
            request.raw_path,
            request.query,
            request.headers,
            request.body,
            presigned=not _is_in_header(request),
        )
        if failure is not None:
            raise Refusal(403, "InvalidSignatureException", failure[1])

    def _time_failure(self, signature: Any, expires: list[str] | None) -> tuple[str, str] | None:
        """Return the code and reason if the signature is too old, or from the future; else None."""
        try:
            signed_at = dt.datetime.strptime(signature.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
            life = None if expires is None else int(expires[0])
        except ValueError:
            return "IncompleteSignature", "the date or the expiry of the signature cannot be read"
        if life is None:
            return self._verifier.request_time_failure(signature)
        age = (dt.datetime.now(dt.UTC) - signed_at).total_seconds()
        if not (0 < life <= _LONGEST_LIFE and -_CLOCK_SKEW <= age <= life):
            return "RequestExpired", f"the signature of {signature.amz_date} is valid for {life} s"
        return None


def _is_in_header(request: Request) -> bool:
    return request.headers.get("authorization", "").startswith(f"{_ALGORITHM} ")
