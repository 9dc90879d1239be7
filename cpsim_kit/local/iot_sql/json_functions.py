"""The functions of AWS IoT SQL on Arrays and Objects, and on encoded data."""

import base64
import binascii
from typing import Any

import orjson

from cpsim_kit.local.iot_sql.values import UNDEFINED, to_int, to_string


def get(container: Any, key: Any) -> Any:
    """Return an item of an Array, a character of a String (both count from 0), or a member of an Object."""
    kind = type(container)
    if kind is dict:
        return container.get(key, UNDEFINED) if type(key) is str else UNDEFINED
    if kind is list or kind is str:
        index = key if type(key) is int else to_int(key)
        if index is not UNDEFINED and 0 <= index < len(container):
            return container[index]
    return UNDEFINED


def get_or_default(value: Any, default: Any = UNDEFINED) -> Any:
    return default if value is None or value is UNDEFINED else value


def to_base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def encode(value: Any, _scheme: Any) -> Any:
    text = to_string(value)
    return UNDEFINED if text is UNDEFINED else to_base64(text.encode())


def decode(value: Any, _scheme: Any) -> Any:
    text = to_string(value)
    if text is UNDEFINED:
        return UNDEFINED
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None  # the guide: Null if the string cannot be decoded
    try:
        return orjson.loads(decoded)
    except orjson.JSONDecodeError:
        return decoded


def transform(mode: Any, attributes: Any, items: Any) -> Any:
    """Add the attributes to each Object of an Array; "enrichArray" is the only mode."""
    if mode != "enrichArray" or type(attributes) is not dict or type(items) is not list:
        return UNDEFINED
    if not all(type(item) is dict for item in items):
        return UNDEFINED
    return [{**item, **attributes} for item in items]
