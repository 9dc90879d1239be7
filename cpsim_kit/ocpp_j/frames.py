"""OCPP-J frames, payloads and JSON schemas of OCPP 1.6, 2.0.1 and 2.1, without I/O.

The ``ocpp`` package brings the dataclasses, the enumerations and the JSON schemas. This module compiles each
message's schema once, into a validator (jsonschema-rs) and into the two key conversions between the schema's names
(``vendorName``) and the dataclasses' names (``vendor_name``); ``structs`` is a shorter way for a payload to be sent. It
imports nothing else of the kit but ``errors``.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import importlib.resources
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import jsonschema_rs
import msgspec
import orjson

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.structs import struct_of, to_json

__all__ = [
    "CALL",
    "CALLERROR",
    "CALLRESULT",
    "CALLRESULTERROR",
    "CHARGE_POINT_ACTIONS",
    "KINDS",
    "SEND",
    "Message",
    "Version",
    "broken_answer_id",
    "call_frame",
    "dump_frame",
    "error_of",
    "load_frame",
    "result_of",
    "version_of",
]

if "jsonschema" not in sys.modules:
    # The ocpp package imports jsonschema, and that builds the grammar of RFC 3987 wherever JupyterLab has brought the
    # package for it: two seconds at every start, for two formats that OCPP has not. So it is not found, this once.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    importlib.import_module("jsonschema")
    del sys.modules["rfc3987_syntax"]

# Message type numbers: OCPP-J 2.0.1 part 4, 4.1.3; 5 and 6 came with 2.1.
CALL, CALLRESULT, CALLERROR, CALLRESULTERROR, SEND = 2, 3, 4, 5, 6
KINDS = {
    CALL: "CALL",
    CALLRESULT: "CALLRESULT",
    CALLERROR: "CALLERROR",
    CALLRESULTERROR: "CALLRESULTERROR",
    SEND: "SEND",
}

_SUBPROTOCOLS = {"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1", "2.1": "ocpp2.1"}
_PACKAGES = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
_versions: dict[str, Version] = {}
_making = threading.Lock()  # held while a version is made: a payload's version is compared by identity

# What a charge point may ask a CSMS: OCPP 2.0.1 part 2, appendix; OCPP 1.6, chapter 4, and its security white paper.
CHARGE_POINT_ACTIONS = {
    "2.0.1": frozenset(
        {
            "Authorize",
            "BootNotification",
            "ClearedChargingLimit",
            "DataTransfer",
            "FirmwareStatusNotification",
            "Get15118EVCertificate",
            "GetCertificateStatus",
            "Heartbeat",
            "LogStatusNotification",
            "MeterValues",
            "NotifyChargingLimit",
            "NotifyCustomerInformation",
            "NotifyDisplayMessages",
            "NotifyEVChargingNeeds",
            "NotifyEVChargingSchedule",
            "NotifyEvent",
            "NotifyMonitoringReport",
            "NotifyReport",
            "PublishFirmwareStatusNotification",
            "ReportChargingProfiles",
            "ReservationStatusUpdate",
            "SecurityEventNotification",
            "SignCertificate",
            "StatusNotification",
            "TransactionEvent",
        }
    ),
    "1.6": frozenset(
        {
            "Authorize",
            "BootNotification",
            "DataTransfer",
            "DiagnosticsStatusNotification",
            "FirmwareStatusNotification",
            "Heartbeat",
            "LogStatusNotification",
            "MeterValues",
            "SecurityEventNotification",
            "SignCertificate",
            "SignedFirmwareStatusNotification",
            "StartTransaction",
            "StatusNotification",
            "StopTransaction",
        }
    ),
}

# The CALLERROR code for a breach of each schema keyword; what is not listed is a PropertyConstraintViolation.
# OCPP-J 2.0.1 part 4, table 7; OCPP-J 1.6, table 7.
_CODES = {
    "type": "TypeConstraintViolation",
    "maxLength": "TypeConstraintViolation",
    "required": "ProtocolError",
    "additionalProperties": "FormatViolation",
    "minItems": "OccurrenceConstraintViolation",
    "maxItems": "OccurrenceConstraintViolation",
}
# How each version spells the codes that are not spelled alike everywhere. OCPP-J 1.6 keeps its two spellings (errata
# 5.1 and 5.2), and has no code for a broken frame or an unknown message type.
_SPELLINGS = {
    "1.6": {
        "FormatViolation": "FormationViolation",
        "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
        "RpcFrameworkError": "FormationViolation",
        "MessageTypeNotSupported": "GenericError",
    },
    "2.0.1": {
        "FormationViolation": "FormatViolation",
        "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
    },
    "2.1": {
        "FormationViolation": "FormatViolation",
        "OccurenceConstraintViolation": "OccurrenceConstraintViolation",
    },
}

_may_hold_large_integer = re.compile(rb"[0-9]{19}").search
_answer_head = re.compile(rb'\s*\[\s*[34]\s*,\s*"([^"\\]*)"').match


def load_frame(text: str | bytes) -> Any:
    """The JSON value of a frame; integers of any size are exact.

    Raises:
        ProtocolViolation: It is not JSON.
    """
    try:
        value = orjson.loads(text)
        # orjson reads an integer beyond 64 bits as a float, which is another number.
        if _may_hold_large_integer(text.encode() if isinstance(text, str) else text):
            return json.loads(text)
        return value
    except ValueError as exc:  # also of Python's own limit, 4,300 digits
        raise ProtocolViolation(f"not JSON: {exc}", action="", path="", text=str(exc)) from exc


def broken_answer_id(text: str | bytes) -> str:
    """The message id of a CALLRESULT or CALLERROR that is not JSON further on; "" where there is none to read.

    Whoever waits for this answer need not wait for its time-out.
    """
    data = text.encode(errors="backslashreplace") if isinstance(text, str) else text
    head = _answer_head(data)
    return head[1].decode(errors="replace") if head else ""


def error_of(frame: list[Any]) -> tuple[str, str, Any]:
    """Code, description and details of a CALLERROR; what is missing or null is "", "" and {}.

    OCPP-J 1.6, 4.2.3; OCPP 2.0.1 part 4, 4.2.3.
    """
    code, description, details = [*frame[2:5], None, None, None][:3]
    return (
        "" if code is None else str(code),
        "" if description is None else str(description),
        {} if details is None else details,
    )


def result_of(frame: list[Any], action: str, version: Version) -> Any:
    """The payload of a CALLRESULT; null is another notation for an empty one (OCPP-J 1.6, 4.2.2).

    Args:
        frame: The frame; in the place of its payload the error of :func:`load_frame` where it is not JSON.
        action: The action of its CALL.
        version: Spells the error's code.

    Raises:
        ProtocolViolation: The frame has not 3 elements, or is not JSON.
    """
    if len(frame) != 3:
        text = f"a CALLRESULT has 3 elements, this one {len(frame)}"
        code = version.code("RpcFrameworkError")
        raise ProtocolViolation(f"{action}: {text}", action=action, path="", text=text, code=code)
    payload = frame[2]
    if isinstance(payload, ProtocolViolation):
        code = version.code("FormatViolation")
        raise ProtocolViolation(
            f"{action}: {payload}", action=action, path="", text=payload.text, code=code
        ) from payload
    return {} if payload is None else payload


def call_frame(message_id: str, action: str, payload: bytes) -> bytes:
    """A CALL, its payload already JSON; id and action are plain letters, digits and hyphens."""
    return b'[2,"%b","%b",%b]' % (message_id.encode(), action.encode(), payload)


def dump_frame(frame: list[Any]) -> bytes:
    """A frame as compact UTF-8 JSON.

    Raises:
        ProtocolViolation: It holds something that JSON has no form for.
    """
    return _dump(frame)[:-1] + b"]"  # a copy of its own size: what orjson returns keeps a buffer of 4 KiB


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as exc:  # orjson.JSONEncodeError is a TypeError
        raise ProtocolViolation(f"cannot be written as JSON: {exc}", action="", path="", text=str(exc)) from exc


def version_of(kind: type) -> Version:
    """The OCPP version a ``call`` dataclass belongs to, by the package it was defined in.

    Raises:
        TypeError: It is not a dataclass of ``ocpp.v16.call``, ``ocpp.v201.call`` or ``ocpp.v21.call``.
    """
    parts = kind.__module__.split(".")
    if parts[0] == "ocpp" and parts[-1] == "call":
        for name, package in _PACKAGES.items():
            if parts[1] == package:
                return Version.get(name)
    raise TypeError(f"expected a dataclass of ocpp.v16.call, ocpp.v201.call or ocpp.v21.call, not {kind.__qualname__}")


class Version:
    """One OCPP version: its actions, dataclasses, schemas and names.

    Attributes:
        name: "1.6", "2.0.1" or "2.1".
        subprotocol: The WebSocket subprotocol, e.g. "ocpp2.0.1".
        calls: The ``call`` module of the ocpp package.
        call_results: Its ``call_result`` module.
        datatypes: Its ``datatypes`` module.
        actions: All actions of the version.
    """

    def __init__(self, name: str) -> None:
        package = _PACKAGES[name]
        self.name = name
        self.subprotocol = _SUBPROTOCOLS[name]
        self.calls: ModuleType = importlib.import_module(f"ocpp.{package}.call")
        self.call_results: ModuleType = importlib.import_module(f"ocpp.{package}.call_result")
        self.actions = frozenset(str(action) for action in importlib.import_module(f"ocpp.{package}.enums").Action)
        self._schemas = importlib.resources.files(f"ocpp.{package}") / "schemas"
        self.datatypes: ModuleType = importlib.import_module(f"ocpp.{package}.datatypes")
        self._field_names = _field_names(self.calls, self.call_results, self.datatypes)

    def __repr__(self) -> str:
        return f"<OCPP {self.name}>"

    @staticmethod
    def get(name: str) -> Version:
        """The version of that name; made once, also where two threads ask for it at the same time.

        Raises:
            ValueError: There is no such version.
        """
        with _making:
            if name not in _versions:
                if name not in _PACKAGES:
                    raise ValueError(f"OCPP version {name!r} is not known; use one of {', '.join(_PACKAGES)}")
                _versions[name] = Version(name)
            return _versions[name]

    @functools.cache  # noqa: B019 - versions live as long as the process
    def request(self, action: str) -> Message:
        """The message that asks ``action``.

        Raises:
            ProtocolViolation: The version has no such action.
        """
        return self._message(action, self.calls, "" if self.name == "1.6" else "Request")

    @functools.cache  # noqa: B019 - versions live as long as the process
    def response(self, action: str) -> Message:
        """The message that answers ``action``.

        Raises:
            ProtocolViolation: The version has no such action, or the action has no answer.
        """
        return self._message(action, self.call_results, "Response")

    def code(self, name: str) -> str:
        """A CALLERROR code as this version spells it, however another version or the ocpp package does."""
        return _SPELLINGS[self.name].get(name, name)

    def _message(self, action: str, module: ModuleType, suffix: str) -> Message:
        path = self._schemas / f"{action}{suffix}.json"
        if action not in self.actions or not path.is_file():
            text = f"OCPP {self.name} has no {action} {'response' if suffix == 'Response' else 'request'}"
            code = "NotSupported" if action in self.actions else "NotImplemented"
            raise ProtocolViolation(text, action=action, path="", text=text, code=code)
        schema = orjson.loads(path.read_text(encoding="utf-8-sig"))
        return Message(self, action, getattr(module, action, None), schema)

    def python_name(self, wire: str) -> str:
        """The name that the dataclasses have for a name of the schemas."""
        return _python_name(wire, self._field_names)

    def datatype(self, definition: str) -> type | None:
        """The dataclass of a schema's definition, where there is one."""
        found = getattr(self.datatypes, definition, None)
        return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


class Message:
    """One payload of one version: a request or a response, its dataclass, validator and key conversions.

    Attributes:
        action: The action.
        cls: The dataclass of the ocpp package, or None where it has none.
        schema: The JSON schema, as the ocpp package ships it.
    """

    def __init__(self, version: Version, action: str, cls: type | None, schema: dict[str, Any]) -> None:
        self.action = action
        self.cls = cls
        self.schema = schema
        self._version = version
        self._fields = frozenset(field.name for field in dataclasses.fields(cls)) if cls else frozenset()
        self._required = frozenset(
            field.name
            for field in (dataclasses.fields(cls) if cls else ())
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        # Draft 4 for every version, as the ocpp package validates, whatever draft the file names; formats unchecked.
        self._validator = jsonschema_rs.Draft4Validator(schema, validate_formats=False)
        self._is_valid = self._validator.is_valid
        self._node = _Node.compile(schema, schema, version.python_name, {}) or _Node()

    def __repr__(self) -> str:
        return f"<{self.cls.__module__ if self.cls else self._version}.{self.action}>"

    @functools.cached_property
    def _struct(self) -> type[msgspec.Struct] | None:
        def dataclass_of(name: str) -> type | None:
            return self._version.datatype(name) if name else self.cls

        return struct_of(self.schema, self._version.python_name, dataclass_of)

    def to_json(self, payload: object) -> bytes:
        """A payload as JSON, validated: what :meth:`encode` makes of it, in most cases at a third of the cost.

        Raises:
            ProtocolViolation: It breaks the schema, or holds something that JSON has no form for.
        """
        if self._struct is not None and (text := to_json(payload, self._struct)) is not None:
            return text
        data = self.encode(payload)
        try:
            return _dump(data)
        except ProtocolViolation as exc:
            path = _path_without_form(data)
            message = f"{self.action}, {path}: {exc}"
            raise ProtocolViolation(
                message, action=self.action, path=path, text=exc.text, code=exc.code
            ) from exc.__cause__

    def encode(self, payload: object) -> dict[str, Any]:
        """A payload in the schema's names, validated; fields that are None are left out, times become RFC 3339.

        Scalars and arrays of numpy, and times of pandas, become JSON's own.

        Args:
            payload: The dataclass, or a dict in the dataclass's names or the schema's.

        Raises:
            ProtocolViolation: It breaks the schema, or a field holds something that JSON or OCPP has no form for, as a
                time without a zone; ``path`` names the field.
        """
        try:
            data: dict[str, Any] = self._node.to_wire(payload)
            if self._is_valid(data):
                return data
            violation = self._violation(data)
        except _NoForm as exc:
            raise self._unreadable(exc, exc.path) from exc
        except (ValueError, RecursionError) as exc:
            raise self._unreadable(exc) from exc
        raise violation

    def decode(self, data: object) -> dict[str, Any]:
        """A received payload in the dataclass's names, validated.

        Raises:
            ProtocolViolation: It breaks the schema.
        """
        try:
            if self._is_valid(data):
                return self._node.from_wire(data)  # type: ignore[no-any-return]
            violation = self._violation(data)
        except (ValueError, RecursionError) as exc:
            raise self._unreadable(exc) from exc
        raise violation

    def write(self, payload: object) -> dict[str, Any]:
        """A payload in the schema's names, not validated."""
        return self._node.to_wire(payload)  # type: ignore[no-any-return]

    def read(self, data: object) -> dict[str, Any]:
        """A received payload in the dataclass's names, not validated."""
        return self._node.from_wire(data)  # type: ignore[no-any-return]

    def decode_object(self, data: object) -> Any:
        """A received payload as the dataclass, validated; nested types stay dicts, as in the ocpp package.

        Raises:
            ProtocolViolation: It breaks the schema.
        """
        values = self.decode(data)
        assert self.cls is not None
        try:
            return self.cls(**values)
        except TypeError:  # the dataclass and the schema differ
            pass
        for name in self._required - values.keys():  # three requests of 1.6 ask for more than their schemas
            values[name] = None
        # A field of the schema that the dataclass lacks: kept as a plain attribute, so that nothing is lost.
        answer = self.cls(**{name: value for name, value in values.items() if name in self._fields})
        for name in values.keys() - self._fields:
            setattr(answer, name, values[name])
        return answer

    def example(self) -> dict[str, Any]:
        """The smallest valid payload, in the schema's names; "Accepted" where there is a choice of status.

        With the few fields that the dataclass asks for and the schema does not.
        """
        payload: dict[str, Any] = _example(self.schema, self.schema)
        for field in dataclasses.fields(self.cls) if self.cls else ():
            if field.default is dataclasses.MISSING and (wire := self._node.wire.get(field.name)):
                payload.setdefault(wire[0], _example(self.schema["properties"][wire[0]], self.schema))
        return payload

    def _unreadable(self, exc: BaseException, path: str = "") -> ProtocolViolation:
        """What JSON has no form for, or is nested too deep to look at."""
        text, code = f"cannot be read as JSON: {exc}", self._version.code("TypeConstraintViolation")
        where = f"{self.action}, {path}:" if path else self.action
        return ProtocolViolation(f"{where} {text}", action=self.action, path=path, text=text, code=code)

    def mismatch(self, data: object) -> tuple[int, int]:
        """How far a received payload is from the schema: its misplaced and missing names, then all its breaches.

        Raises:
            ValueError: It cannot be looked at, as it is nested too deep.
        """
        names = data.keys() if isinstance(data, dict) else set()
        strange = names - self.schema.get("properties", {}).keys()
        missing = set(self.schema.get("required", ())) - names
        return len(strange) + len(missing), sum(1 for _ in self._validator.iter_errors(data))

    def _violation(self, data: object) -> ProtocolViolation:
        error = next(iter(self._validator.iter_errors(data)))
        keyword = next((str(part) for part in reversed(error.schema_path) if isinstance(part, str)), "")
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path).lstrip(".")
        code = self._version.code(_CODES.get(keyword, "PropertyConstraintViolation"))
        where = f" at {path}" if path else ""
        return ProtocolViolation(
            f"{self.action} breaks the schema of OCPP {self._version.name}{where}: {error.message}",
            action=self.action,
            path=path,
            text=error.message,
            code=code,
        )


class _Node:
    """One object of a schema: how its keys are called on the wire and in Python, and what lies below each."""

    __slots__ = ("python", "wire")

    def __init__(self) -> None:
        self.wire: dict[str, tuple[str, _Node | None]] = {}  # Python's name -> wire name, node below
        self.python: dict[str, tuple[str, _Node | None]] = {}  # wire name -> Python's name, node below

    @classmethod
    def compile(
        cls, schema: Any, root: Any, python_name: Callable[[str], str], seen: dict[str, _Node | None]
    ) -> _Node | None:
        """The node of a schema; None for what has no keys to convert. Arrays share the node of their items."""
        ref = schema.get("$ref")
        if ref is not None:
            if ref not in seen:
                seen[ref] = None  # no OCPP schema refers to itself; this ends the recursion if one ever does
                target = functools.reduce(lambda node, part: node[part], ref.removeprefix("#/").split("/"), root)
                seen[ref] = cls.compile(target, root, python_name, seen)
            return seen[ref]
        if "items" in schema:
            return cls.compile(schema["items"], root, python_name, seen)
        if "properties" not in schema:
            return None
        node = cls()
        for wire, below in schema["properties"].items():
            python = python_name(wire)
            child = cls.compile(below, root, python_name, seen)
            node.python[wire] = (python, child)
            node.wire[wire] = node.wire[python] = (wire, child)
        return node

    def to_wire(self, value: Any) -> Any:
        """A value in wire names; keys the schema does not name stay as they are."""
        kind = type(value)
        if kind is list or kind is tuple:
            items = [item for item in value if item is not None]
            try:
                return [self.to_wire(item) for item in items]
            except _NoForm:
                raise _first_without_form(self.to_wire, enumerate(items)) from None
        if _is_dataclass(kind):
            value = value.__dict__
        elif kind is not dict and not isinstance(value, dict):
            return _plain(value)
        wire, scalars, enums = self.wire, _SCALARS, enum.EnumType
        out = {}
        for name, item in value.items():
            if item is None:
                continue
            try:
                key, below = wire[name]
            except KeyError:
                key, below = name, None
            if below is not None:
                try:
                    out[key] = below.to_wire(item)
                except _NoForm as exc:
                    raise exc.within(key) from None
            elif (kind := type(item)) in scalars:
                out[key] = item
            elif type(kind) is enums:
                out[key] = item._value_
            elif kind is float and item - item == 0:  # finite
                out[key] = item
            else:
                try:
                    out[key] = _plain(item)
                except _NoForm as exc:
                    raise exc.within(key) from None
        return out

    def from_wire(self, value: Any) -> Any:
        """A value in Python's names; keys the schema does not name stay as they are."""
        if type(value) is list:
            return [self.from_wire(item) for item in value]
        if type(value) is not dict:
            return value
        python = self.python
        out = {}
        for key, item in value.items():
            try:
                name, below = python[key]
            except KeyError:
                name, below = key, None
            out[name] = item if below is None else below.from_wire(item)
        return out


_SCALARS = frozenset((str, int, bool))
_NUMBERS = (float, Decimal)
_RFC_3339 = re.compile(r"[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?[+-][0-9]{2}:[0-9]{2}")


_is_dataclass: Callable[[type], bool] = functools.cache(dataclasses.is_dataclass)


class _NoForm(ValueError):
    """A value that JSON, or OCPP, has no form for.

    Attributes:
        path: Where in the payload, in the schema's names; "" for the value itself.
    """

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path

    def within(self, key: str | int) -> _NoForm:
        """The same, seen from the object or array that holds the value."""
        step = f"[{key}]" if isinstance(key, int) else key
        dot = "" if not self.path or self.path.startswith("[") else "."
        return _NoForm(str(self), f"{step}{dot}{self.path}")


def _first_without_form(convert: Callable[[Any], Any], items: Iterable[tuple[str | int, Any]]) -> _NoForm:
    for key, item in items:
        try:
            convert(item)
        except _NoForm as exc:
            return exc.within(key)
    raise AssertionError("all of them have a form")


def _path_without_form(data: Any) -> str:
    """Where in a value what JSON cannot hold is, e.g. "data[2].text"."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in items:
        try:
            orjson.dumps(item)
        except TypeError as exc:
            return _NoForm(str(exc), _path_without_form(item)).within(key).path
    return ""


def _plain(value: Any) -> Any:
    """A value as JSON has it, its keys untouched: enumerations by value, decimals as numbers, times as RFC 3339.

    Raises:
        ValueError: JSON or OCPP has no form for it.
    """
    if value is None or type(value) in _SCALARS:
        return value
    if isinstance(value, enum.Enum):
        return value._value_
    if isinstance(value, str | int):  # a subclass, as numpy's str_
        return str.__str__(value) if isinstance(value, str) else int(value)
    if isinstance(value, _NUMBERS):
        value = float(value)
        if value - value != 0:  # infinite, or not a number
            raise _NoForm(f"JSON has no form for {value}; leave the field out with None")
        return value
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, dict):
        return {str(key): _plain_at(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_at(index, item) for index, item in enumerate(value)]
    if _is_dataclass(type(value)):
        return {name: _plain_at(name, item) for name, item in vars(value).items() if item is not None}
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "dtype"):
        if value.dtype.kind in "Mm":  # its times have no zone, and come out as numbers
            raise _NoForm(f"{value!r} has no time zone: give a datetime with one, e.g. datetime.now(UTC)")
        if value.dtype.kind in "biufOU":
            return _plain(value.tolist())  # Python's own
    raise _NoForm(f"JSON has no form for {value!r}")


def _plain_at(key: str | int, value: Any) -> Any:
    try:
        return _plain(value)
    except _NoForm as exc:
        raise exc.within(key) from None


def _time(moment: datetime) -> str:
    """A time as RFC 3339, 5.6, has it: with its offset from UTC."""
    if moment != moment:  # noqa: PLR0124 - pandas' NaT, a datetime that equals nothing
        raise _NoForm("NaT is not a time; leave the field out with None")
    if moment.utcoffset() is None:
        raise _NoForm(
            f"the time {moment.isoformat()} has no time zone: use datetime.now(UTC), or .astimezone() for a local time"
        )
    text = moment.isoformat()
    if not _RFC_3339.fullmatch(text):  # offsets with seconds, as of cities a century ago
        text = moment.astimezone(UTC).isoformat()
    return text


def _example(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The smallest value a schema allows."""
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
    if "enum" in schema:
        return "Accepted" if "Accepted" in schema["enum"] else schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: _example(properties[name], root) for name in schema.get("required", [])}
        case "array":
            return [_example(schema["items"], root)] * schema.get("minItems", 0)
        case "string":
            return datetime.now(UTC).isoformat() if schema.get("format") == "date-time" else ""
        case "boolean":
            return False
        case "integer":
            return int(schema.get("minimum", 0))
        case _:
            return schema.get("minimum", 0)


def _field_names(*modules: ModuleType) -> dict[str, set[str]]:
    """Every dataclass field of a version, by its name without underscores and case."""
    names: dict[str, set[str]] = {}
    for module in modules:
        for cls in vars(module).values():
            if dataclasses.is_dataclass(cls):
                for field in dataclasses.fields(cls):
                    names.setdefault(_squash(field.name), set()).add(field.name)
    return names


def _python_name(wire: str, names: Mapping[str, set[str]]) -> str:
    """The dataclass field for a schema's name: the one spelled alike, whatever its underscores and capitals."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", wire).lower()
    candidates = names.get(_squash(wire), {snake})
    return snake if snake in candidates else min(candidates)


def _squash(name: str) -> str:
    return name.replace("_", "").lower()
