"""Device Shadows as in AWS IoT Core: what an update may contain, what a null removes, what the delta is.

AWS IoT Core developer guide, "Device Shadow service documents" and "Device Shadow error messages"; AWS General
Reference, "AWS IoT Core Device Shadow service limits and quotas": 8 KB without metadata, 8 levels. Where these do not
say, this module does as AWS's shadow manager for Greengrass, which follows the service.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["delta", "install", "merge", "refusal"]

Answer = tuple[Any, ...]
Json = dict[str, Any]

_SECTIONS = ("desired", "reported")
_IGNORED = "delta"  # it is in the answer of a get, and clients send it back
_LEVELS = 8
_LONGEST_TOKEN = 64  # bytes
_LARGEST = 8 * 1024  # bytes of both sections, as compact JSON
_NAME = re.compile(r"[$a-zA-Z0-9:_-]{1,64}")  # UpdateThingShadow, shadowName
_EXCEPTIONS = {
    400: "InvalidRequestException",
    413: "RequestEntityTooLargeException",
    415: "UnsupportedDocumentEncodingException",
}


def install(iot: Any, iot_data: Any) -> None:
    """Replace functions of ministack's shadows, over HTTP and over MQTT.

    Args:
        iot: ministack's module ``services.iot``, which keeps the shadows.
        iot_data: ministack's module ``services.iot_data``, which answers HTTP.
    """
    parse, answer_http, answer_mqtt = iot.parse_shadow_request, iot_data._shadow, iot._handle_shadow_publish

    def parse_request(payload: bytes) -> Any:
        try:
            return parse(payload)
        except RecursionError as exc:
            raise ValueError("too many levels") from exc

    def update(thing_name: str, shadow_name: str, request: Any) -> Answer:
        if reason := refusal(request):
            return 400, {"message": reason}
        key = (thing_name, shadow_name)
        record = iot._shadows.get(key) or {"version": 0}  # a deleted shadow has only its version
        if request.get("version") not in (None, record["version"]):
            return 409, {"message": "Version conflict"}
        now = iot._shadow_now()
        patch = request["state"]
        sections = {name: section for name, section in (patch or {}).items() if name in _SECTIONS}
        state, stamps = merge(record.get("state") or {}, record.get("metadata") or {}, sections, now)
        if patch is None:
            state, stamps = {}, {}
        if _size(state) > _LARGEST:
            return 413, {"message": "The payload exceeds the maximum size allowed"}
        version = record["version"] + 1
        iot._shadows[key] = {"state": state, "metadata": stamps, "version": version}
        echo = patch and {name: section for name, section in sections.items() if section is not None}
        document = {"state": echo, "metadata": iot._build_metadata(echo, now), "version": version, "timestamp": now}
        if request.get("clientToken") is not None:
            document["clientToken"] = request["clientToken"]
        return 200, document

    async def over_http(method: str, path: str, body: bytes, query: dict[str, str]) -> Answer:
        status, message = _unreadable(query.get("name"), body)
        if not status:
            answer: Answer = await answer_http(method, path, body, query)
            if answer[0] != 413:
                return answer
            status, message = 413, json.loads(answer[2])["message"]
        refused: Answer = iot_data.error_response_json(_EXCEPTIONS[status], message, status)
        return refused

    async def over_mqtt(
        account: str, region: str, thing_name: str, verb: str, shadow_name: str | None, payload: bytes
    ) -> None:
        status, message = _unreadable(shadow_name, payload)
        if not status:
            await answer_mqtt(account, region, thing_name, verb, shadow_name, payload)
            return
        named = "" if shadow_name is None else f"/name/{shadow_name}"
        topic = f"$aws/things/{thing_name}/shadow{named}/{verb}/rejected"
        await iot.broker_publish(
            account, region, topic, json.dumps({"code": status, "message": message}).encode(), qos=1
        )

    iot.parse_shadow_request, iot.update_thing_shadow, iot._compute_delta = parse_request, update, delta
    iot_data._shadow, iot._handle_shadow_publish = over_http, over_mqtt


def refusal(request: Any) -> str:
    """Return why AWS IoT answers 400 to an update of a shadow; "" if it does not."""
    if not isinstance(request, dict) or "state" not in request:
        return "Missing required node: state"
    state, token, version = request["state"], request.get("clientToken"), request.get("version")
    if not isinstance(state, dict | None):
        return "State node must be an object"
    for name, section in (state or {}).items():
        if name not in (*_SECTIONS, _IGNORED):
            return "State contains an invalid node"
        if not isinstance(section, dict | None):
            return f"{name.capitalize()} node must be an object"
        if _is_deeper(section, _LEVELS):
            return f"JSON contains too many levels of nesting; maximum is {_LEVELS}"
        if _has_null_in_array(section):
            return "State contains an invalid node"
    if token is not None and not (isinstance(token, str) and len(token.encode(errors="replace")) <= _LONGEST_TOKEN):
        return "Invalid clientToken"
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 0):
        return "Invalid version"
    return ""


def merge(state: Json, stamps: Json, patch: Json, now: int) -> tuple[Json, Json]:
    """Return a state and its metadata after an update.

    A null removes its key, at any depth. An object without keys is removed. An array is a value.

    Args:
        state: The object with the sections, or any object in it. It is not changed.
        stamps: Its metadata: the same keys, with ``{"timestamp": seconds}`` in the place of each value.
        patch: The object of the update at the same place.
        now: Seconds since the epoch.
    """
    state, stamps = dict(state), dict(stamps)
    for key, value in patch.items():
        if isinstance(value, dict):
            known = isinstance(state.get(key), dict)
            stored, stamp = merge(state[key] if known else {}, stamps[key] if known else {}, value, now)
        else:
            stored, stamp = _without_nulls(value), {"timestamp": now}
        if stored is None or stored == {}:
            state.pop(key, None)
            stamps.pop(key, None)
        else:
            state[key], stamps[key] = stored, stamp
    return state, stamps


def delta(desired: Json, reported: Json) -> Json:
    """Return the fields of ``desired`` that ``reported`` lacks or has with another value. In JSON, true is not 1."""
    different = {}
    for key, value in desired.items():
        there = reported.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            if within := delta(value, there):
                different[key] = within
        elif not _same(value, there):
            different[key] = value
    return different


def _unreadable(shadow_name: str | None, payload: bytes) -> tuple[int, str]:
    """Return why a request is refused before its document is parsed, as status and message; status 0 if it is not."""
    if shadow_name and not _NAME.fullmatch(shadow_name):
        return 400, f"Invalid shadow name: AWS IoT takes {_NAME.pattern}"
    try:
        payload.decode()
    except UnicodeDecodeError:
        return 415, "Unsupported documented encoding; supported encoding is UTF-8"
    return 0, ""


def _size(state: Json) -> int:
    sections = (json.dumps(section, separators=(",", ":"), ensure_ascii=False) for section in state.values())
    return sum(len(section.encode(errors="replace")) for section in sections)


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays are nested deeper than ``levels``; an empty one is not a level."""
    if not value or not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in children)


def _has_null_in_array(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null_in_array, value.values()))
    return isinstance(value, list) and any(each is None or _has_null_in_array(each) for each in value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal. In JSON, true and 1 are not."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)
