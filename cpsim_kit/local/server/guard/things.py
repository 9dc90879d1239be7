"""Limits, filters and pages of the Thing registry, which ministack ignores.

AWS IoT API Reference: CreateThing, UpdateThing, DeleteThing, ListThings, AttributePayload; AWS General Reference,
"AWS IoT Core endpoints and quotas", section "AWS IoT Core thing resource limits and quotas".
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

__all__ = ["install"]

Answer = tuple[Any, ...]

_NAME = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")
_ATTRIBUTES = 3  # of a Thing without a thing type
_ATTRIBUTES_OF_A_TYPE = 50
_PAGE, _LARGEST_PAGE = 25, 250


def install(iot: Any) -> None:
    """Replace functions of ministack's registry.

    Args:
        iot: ministack's module ``services.iot``.
    """
    create, update = iot._create_thing, iot._update_thing

    def refused(message: str) -> Answer:
        answer: Answer = iot.error_response_json("InvalidRequestException", message, 400)
        return answer

    def create_thing(name: str, payload: dict[str, Any]) -> Answer:
        attributes = (payload.get("attributePayload") or {}).get("attributes") or {}
        reason = _refusal(attributes) or _too_many(attributes, payload.get("thingTypeName"))
        return refused(reason) if reason else create(name, payload)

    def update_thing(name: str, payload: dict[str, Any]) -> Answer:
        thing = iot._things.get(name)
        if thing is None:
            return update(name, payload)  # type: ignore[no-any-return]
        given = payload.get("attributePayload") or {}
        attributes = given.get("attributes") or {}
        if reason := _refusal(attributes):
            return refused(reason)
        expected = payload.get("expectedVersion")
        if expected is not None and expected != thing.get("version", 1):
            text = f"The version for thing {name} does not match the expected version."
            conflict: Answer = iot.error_response_json("VersionConflictException", text, 409)
            return conflict
        there = thing.get("attributes") or {}
        if given.get("merge"):
            after = {key: value for key, value in {**there, **attributes}.items() if value}
        else:
            after = attributes if "attributePayload" in payload else there
        type_name = None if payload.get("removeThingType") else payload.get("thingTypeName", thing.get("thingTypeName"))
        if reason := _too_many(after, type_name):
            return refused(reason)
        return update(name, payload)  # type: ignore[no-any-return]

    def list_things(query: dict[str, str]) -> Answer:
        try:
            size, after = _page(query)
        except ValueError as exc:
            return refused(str(exc))
        found = sorted((name, thing) for name, thing in iot._things.items() if name > after and _matches(thing, query))
        things = [
            {
                "thingName": name,
                "thingTypeName": thing.get("thingTypeName"),
                "thingArn": thing["thingArn"],
                "attributes": thing.get("attributes") or {},
                "version": thing.get("version", 1),
            }
            for name, thing in found[:size]
        ]
        more = {"nextToken": _token(things[-1]["thingName"])} if len(found) > size else {}
        answer: Answer = iot.json_response({"things": things, **more})
        return answer

    iot._create_thing, iot._update_thing, iot._list_things = create_thing, update_thing, list_things


def _refusal(attributes: dict[str, str]) -> str:
    """Return why AWS refuses these attributes; "" if it accepts them."""
    for what, pattern, texts in (("keys", _NAME, attributes.keys()), ("value", _VALUE, attributes.values())):
        for text in texts:
            if not isinstance(text, str) or not pattern.fullmatch(text):
                return (
                    f"1 validation error detected: Value '{text}' at 'attributePayload.attributes' failed to satisfy "
                    f"constraint: Map {what} must satisfy constraint: [Member must satisfy regular expression "
                    f"pattern: {pattern.pattern}]"
                )
    return ""


def _too_many(attributes: dict[str, str], type_name: str | None) -> str:
    most = _ATTRIBUTES_OF_A_TYPE if type_name else _ATTRIBUTES
    if len(attributes) <= most:
        return ""
    kind = "with" if type_name else "without"
    return f"{len(attributes)} attributes exceed the limit of {most} for a thing {kind} a thing type"


def _matches(thing: dict[str, Any], query: dict[str, str]) -> bool:
    if query.get("thingTypeName") not in (None, thing.get("thingTypeName")):
        return False
    name, value = query.get("attributeName"), query.get("attributeValue")
    attributes = thing.get("attributes") or {}
    found = list(attributes.values()) if name is None else [attributes[name]] if name in attributes else []
    if value is None:
        return name is None or bool(found)
    if query.get("usePrefixAttributeValue", "").lower() == "true":
        return any(each.startswith(value) for each in found)
    return value in found


def _page(query: dict[str, str]) -> tuple[int, str]:
    """Return the size of a page, and the name after which it begins.

    Raises:
        ValueError: AWS refuses such a page.
    """
    given = query.get("maxResults", str(_PAGE))
    if not (given.isdecimal() and 1 <= int(given) <= _LARGEST_PAGE):
        raise ValueError(f"maxResults is 1 to {_LARGEST_PAGE}, not {given}")
    try:
        return int(given), base64.urlsafe_b64decode(query.get("nextToken", "")).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise ValueError("Invalid nextToken") from exc


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()
