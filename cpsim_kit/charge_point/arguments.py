"""Checks the arguments of a charge point, and builds its address and the headers with its password. No I/O.

It imports nothing of the kit.
"""

from __future__ import annotations

import base64
import re
import ssl as ssl_module
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any
from urllib.parse import quote

__all__ = ["check_options", "check_seconds", "connection_url", "handshake_headers"]

_FIELD_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def connection_url(charge_point_id: object, url: object) -> str:
    """The address of a charge point: the identity, percent-encoded, is appended to the path. OCPP-J 2.0.1, 3.1.1.

    White space around the CSMS's address is ignored, as it is easily pasted. A query of the address stays at the end.

    Raises:
        TypeError: The identity or the address is not a string.
        ValueError: The identity or the address is not valid.
    """
    if not isinstance(charge_point_id, str):
        raise TypeError(f'a charge point id is a string, as in ChargePoint("CP1", url); not {charge_point_id!r}')
    if hasattr(url, "websocket_url"):
        raise TypeError(
            f"{charge_point_id}: ChargePoint(…) takes an address, not {url!r}: "
            f"use await stack.charge_point({charge_point_id!r}), or stack.websocket_url"
        )
    if not isinstance(url, str):
        raise TypeError(f"{charge_point_id}: the CSMS's address is a string, ws://… or wss://…; not {url!r}")
    if not charge_point_id or charge_point_id.strip("/") != charge_point_id:
        raise ValueError(f"a charge point id is not empty and does not begin or end with '/': {charge_point_id!r}")
    if not charge_point_id.isprintable() or charge_point_id.strip() != charge_point_id:
        raise ValueError(
            f"a charge point id has no white space at its ends, and no line break, tab or other invisible character "
            f"anywhere: {charge_point_id!r}"
        )
    url = url.strip()
    if " " in url or not url.isprintable():
        shown = re.sub(r"(?<=://)[^/]*@", "…@", url)
        raise ValueError(
            f"{charge_point_id}: there is a space, a line break or another invisible character in the CSMS's address; "
            f"write an intended one as %20, %0A, …: {shown!r}"
        )
    address, mark, query = url.partition("?")
    return f"{address.rstrip('/')}/{quote(charge_point_id, safe=':/')}{mark}{query}"


def handshake_headers(charge_point_id: str, url: str, headers: object, password: str | bytes | None) -> dict[str, str]:
    """The headers that are added to the opening handshake, HTTP Basic authentication among them.

    The user is the identity. A password in bytes is sent as it is, a string as UTF-8: OCPP 1.6 security white paper,
    A00.FR.203 to 205; RFC 7617.

    Raises:
        TypeError: Headers or password have a wrong type.
        ValueError: HTTP cannot carry them, or there are two passwords.
    """
    added = {} if headers is None else _checked_headers(charge_point_id, headers)
    if password is not None:
        added["Authorization"] = f"Basic {_credentials(charge_point_id, password)}"
    given = [name for name in added if name.lower() == "authorization"]
    if len(given) > 1:
        raise ValueError(f"{charge_point_id}: password= makes an Authorization header, and headers= has one: give one")
    if given and "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(
            f"{charge_point_id}: there is a user in the CSMS's address, and password= or an Authorization header too: "
            "give one"
        )
    return added


def _credentials(charge_point_id: str, password: object) -> str:
    if isinstance(password, str):
        if password.strip("\r\n\t") != password:
            raise ValueError(
                f"{charge_point_id}: password= begins or ends with a line break or a tab; was it pasted? If this is "
                "intended, give bytes"
            )
        password = password.encode()
    if not isinstance(password, bytes | bytearray):
        raise TypeError(
            f"{charge_point_id}: password= is a string, or bytes, e.g. bytes.fromhex(…) of an AuthorizationKey; not of "
            f"type {type(password).__name__}"
        )
    if ":" in charge_point_id:
        raise ValueError(
            f"{charge_point_id}: an id with a colon cannot be the user of HTTP Basic authentication, because the "
            "password begins after the first colon: OCPP-J 2.0.1, 3.1.1"
        )
    return base64.b64encode(charge_point_id.encode() + b":" + password).decode()


def _checked_headers(charge_point_id: str, headers: object) -> dict[str, str]:
    what = f'{charge_point_id}: headers= takes a dict of strings, {{"X-Name": "value"}}'
    try:
        added: dict[Any, Any] = dict(headers)  # type: ignore[call-overload]
    except (TypeError, ValueError) as exc:
        raise TypeError(f"{what}, not {type(headers).__name__}") from exc
    for name, value in added.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"{what}; not {name!r} with a value of type {type(value).__name__}")
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{charge_point_id}: headers=: an HTTP header cannot have the name {name!r}")
        if _CONTROL.search(value):
            raise ValueError(f"{charge_point_id}: headers=: {name} has a line break or another control character")
    return added


def check_options(
    charge_point_id: str,
    *,
    version: object,
    modem: object,
    ssl: object,
    compression: object,
    max_messages: object,
    transport: object,
    observe: object,
    explain: object,
) -> None:
    """Check the types of the options.

    Raises:
        TypeError: An option has a wrong type.
        ValueError: ``max_messages`` is below 0.
    """
    if not isinstance(version, str):
        raise TypeError(f'{charge_point_id}: version= is a string, "1.6", "2.0.1" or "2.1"; not {version!r}')
    if modem is not None and not (
        isinstance(modem, Mapping)
        and modem.keys() <= {"iccid", "imsi"}
        and all(isinstance(value, str) for value in modem.values())
    ):
        raise TypeError(f'{charge_point_id}: modem= takes {{"iccid": …, "imsi": …}}, not {modem!r}; both are strings')
    if ssl is not None and not isinstance(ssl, ssl_module.SSLContext):
        raise TypeError(
            f"{charge_point_id}: ssl= takes an ssl.SSLContext, e.g. ssl.create_default_context(cafile=…), or None; "
            f"not {ssl!r}. The address decides whether TLS is used: ws:// or wss://"
        )
    if compression is not None and not isinstance(compression, str):
        raise TypeError(f'{charge_point_id}: compression= is "deflate" or None, not {compression!r}')
    if max_messages is not None and type(max_messages) is not int:
        if isinstance(max_messages, bool) or not isinstance(max_messages, Integral):
            raise TypeError(f"{charge_point_id}: max_messages= is a whole number or None, not {max_messages!r}")
        max_messages = int(max_messages)
    if max_messages is not None and max_messages < 0:
        raise ValueError(f"max_messages is the number of frames to keep, 0 or more; not {max_messages}")
    if not callable(transport) or isinstance(transport, type):
        raise TypeError(
            f"{charge_point_id}: transport= takes what opens a connection, e.g. Network(); not {transport!r}"
        )
    for name, function in (("observe", observe), ("explain", explain)):
        if function is not None and not callable(function):
            raise TypeError(f"{charge_point_id}: {name}= takes a function, not {function!r}")


def check_seconds(what: str, seconds: object, *, above_zero: bool = False) -> None:
    """Check a number of seconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is below 0 or NaN, or it is 0 and ``above_zero`` is true.
    """
    if type(seconds) not in (float, int) and (isinstance(seconds, bool) or not isinstance(seconds, Real)):
        raise TypeError(f"{what} is a number of seconds, not {seconds!r}")
    if not (seconds > 0 if above_zero else seconds >= 0):  # type: ignore[operator]
        raise ValueError(f"{what} is {'more than 0' if above_zero else '0 or more'} seconds, not {seconds!r}")
