"""Payloads: validates them against their JSON schema, and converts their keys. Does no I/O.

Each message's schema is compiled once, into a validator (jsonschema-rs) and into the two conversions of keys between
the spelling of the schema (``vendorName``) and that of the dataclasses (``vendor_name``).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal, Protocol

import jsonschema_rs

from cpsim_kit.errors import ProtocolViolation
from cpsim_kit.ocpp_j.frames import dump_json
from cpsim_kit.ocpp_j.schemas import example, resolve
from cpsim_kit.ocpp_j.values import NotJson, find_not_json, first_not_json, is_dataclass, plain

__all__ = ["UNCHECKED", "Decoder", "Message"]

# The CALLERROR code for a breach of each schema keyword; PropertyConstraintViolation for keywords that are not listed.
# OCPP-J 2.0.1 part 4, table 7; OCPP-J 1.6, table 7.
_CODES = {
    "type": "TypeConstraintViolation",
    "maxLength": "TypeConstraintViolation",
    "required": "ProtocolError",
    "additionalProperties": "FormatViolation",
    "minItems": "OccurrenceConstraintViolation",
    "maxItems": "OccurrenceConstraintViolation",
}


Kind = Literal["request", "response"]


class _Version(Protocol):
    """What a message needs of its version; see ``versions``."""

    name: str

    @property
    def calls(self) -> ModuleType: ...

    @property
    def call_results(self) -> ModuleType: ...

    def code(self, name: str) -> str: ...

    def python_name(self, wire: str) -> str: ...


class Decoder(Protocol):
    """What turns the payload of an answer into what a call returns."""

    def decode_object(self, data: object) -> Any:
        """The object that the call returns.

        Raises:
            ProtocolViolation: The payload is not valid.
        """


class _Unchecked:
    """Returns a payload as it came."""

    def decode_object(self, data: object) -> Any:
        return data


UNCHECKED: Decoder = _Unchecked()


class Message:
    """A request or a response of one version: its dataclass, validator and key conversions.

    Attributes:
        action: The action.
        schema: The JSON schema, as the ocpp package ships it.
    """

    def __init__(self, version: _Version, action: str, kind: Kind, schema: dict[str, Any]) -> None:
        self.action = action
        self.schema = schema
        self._version = version
        self._kind = kind
        # Draft 4 for every version, whatever draft the file names, and formats unchecked: so does the ocpp package.
        self._validator = jsonschema_rs.Draft4Validator(schema, validate_formats=False)
        self._is_valid = self._validator.is_valid

    def __repr__(self) -> str:
        return f"<{self._kind} {self.action} of OCPP {self._version.name}>"

    @functools.cached_property
    def cls(self) -> type | None:
        """The dataclass of the ocpp package; None if it has no such dataclass."""
        module = self._version.calls if self._kind == "request" else self._version.call_results
        return getattr(module, self.action, None)

    @functools.cached_property
    def _keys(self) -> _Keys:
        return _Keys.compile(self.schema, self.schema, self._version.python_name, {}) or _Keys()

    @functools.cached_property
    def _fields(self) -> Mapping[str, bool]:
        """The dataclass's fields, and whether each must be given."""
        missing = dataclasses.MISSING
        return {
            field.name: field.default is missing and field.default_factory is missing
            for field in (dataclasses.fields(self.cls) if self.cls else ())
        }

    def to_json(self, payload: object) -> bytes:
        """Convert a payload with :meth:`encode`, and write it as JSON.

        Raises:
            ProtocolViolation: It breaks the schema, or holds a value that JSON cannot hold.
        """
        data = self.encode(payload)
        try:
            return dump_json(data)
        except ProtocolViolation as exc:
            path = find_not_json(data)
            message = f"{self.action}, {path}: {exc}"
            raise ProtocolViolation(
                message, action=self.action, path=path, text=exc.text, code=exc.code
            ) from exc.__cause__

    def encode(self, payload: object) -> dict[str, Any]:
        """Convert a payload to the names of the schema, and validate it.

        Fields that are None are left out. Times become RFC 3339. Scalars and arrays of numpy, and times of pandas,
        become JSON values.

        Args:
            payload: The dataclass, or a dict in the names of the dataclass or of the schema.

        Raises:
            ProtocolViolation: It breaks the schema, or JSON or OCPP cannot hold the value of a field, e.g. a time
                without a zone. ``path`` names the field.
        """
        try:
            data: dict[str, Any] = self._keys.to_wire(payload)
            if self._is_valid(data):
                return data
            violation = self._violation(data)
        except NotJson as exc:
            raise self._not_readable(exc, exc.path) from exc
        except (ValueError, RecursionError) as exc:
            raise self._not_readable(exc) from exc
        raise violation

    def check(self, data: object) -> None:
        """Validate a received payload.

        Raises:
            ProtocolViolation: It breaks the schema.
        """
        try:
            if self._is_valid(data):
                return
            violation = self._violation(data)
        except (ValueError, RecursionError) as exc:
            raise self._not_readable(exc) from exc
        raise violation

    def decode(self, data: object) -> dict[str, Any]:
        """Validate a received payload, and convert it to the names of the dataclass.

        Raises:
            ProtocolViolation: It breaks the schema.
        """
        self.check(data)
        try:
            return self._keys.from_wire(data)  # type: ignore[no-any-return]
        except RecursionError as exc:
            raise self._not_readable(exc) from exc

    def write(self, payload: object) -> dict[str, Any]:
        """A payload in the schema's names, not validated."""
        return self._keys.to_wire(payload)  # type: ignore[no-any-return]

    def read(self, data: object) -> dict[str, Any]:
        """Convert a received payload to the names of the dataclass, without validation."""
        return self._keys.from_wire(data)  # type: ignore[no-any-return]

    def decode_object(self, data: object) -> Any:
        """Validate a received payload, and make its dataclass; nested types stay dicts, as in the ocpp package.

        Raises:
            ProtocolViolation: It breaks the schema.
        """
        values = self.decode(data)
        assert self.cls is not None
        try:
            return self.cls(**values)
        except TypeError:  # the dataclass and the schema differ
            pass
        for name, is_required in self._fields.items():  # three requests of 1.6 require more fields than their schemas
            if is_required:
                values.setdefault(name, None)
        # A field of the schema that the dataclass lacks becomes a plain attribute, so that it is not lost.
        answer = self.cls(**{name: value for name, value in values.items() if name in self._fields})
        for name in values.keys() - self._fields.keys():
            setattr(answer, name, values[name])
        return answer

    def example(self) -> dict[str, Any]:
        """The smallest valid payload, in the names of the schema; a status is "Accepted" if the schema allows that."""
        payload: dict[str, Any] = example(self.schema, self.schema)
        return payload

    def example_object(self) -> Any:
        """:meth:`example` as the dataclass, with the few fields that only the dataclass requires.

        None if the ocpp package has no dataclass.
        """
        if self.cls is None:
            return None
        payload = self.example()
        for name, is_required in self._fields.items():
            if is_required and (wire := self._keys.names.get(name)):
                payload.setdefault(wire, example(self.schema["properties"][wire], self.schema))
        return self.cls(**self.read(payload))

    def mismatch(self, data: object) -> tuple[int, int]:
        """How far a received payload is from the schema: the number of wrong and missing names, and of all breaches.

        Raises:
            ValueError: It is nested too deep to be checked.
        """
        names = data.keys() if isinstance(data, dict) else set()
        strange = names - self.schema.get("properties", {}).keys()
        missing = set(self.schema.get("required", ())) - names
        return len(strange) + len(missing), sum(1 for _ in self._validator.iter_errors(data))

    def _not_readable(self, exc: BaseException, path: str = "") -> ProtocolViolation:
        """The error for a value that JSON cannot hold, or for a payload that is nested too deep to be checked."""
        text, code = f"cannot be read as JSON: {exc}", self._version.code("TypeConstraintViolation")
        where = f"{self.action}, {path}:" if path else self.action
        return ProtocolViolation(f"{where} {text}", action=self.action, path=path, text=text, code=code)

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


_SCALARS = frozenset((str, int, bool))


class _Keys:
    """The keys of one object of a schema, and of the objects within it.

    Attributes:
        names: The name on the wire for each key, in either spelling.
        python_names: The name in Python for each name on the wire.
        below: The keys of the objects within, by the key that holds them, in either spelling.
    """

    __slots__ = ("below", "names", "python_names")

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.python_names: dict[str, str] = {}
        self.below: dict[str, _Keys] = {}

    @classmethod
    def compile(
        cls,
        schema: Mapping[str, Any],
        root: Mapping[str, Any],
        python_name: Callable[[str], str],
        seen: dict[str, _Keys | None],
    ) -> _Keys | None:
        """The keys of a schema; None if it has no keys to convert. Arrays share the keys of their items."""
        if (ref := schema.get("$ref")) is not None:
            if ref not in seen:
                seen[ref] = None  # no OCPP schema refers to itself; this ends the recursion if one ever does
                seen[ref] = cls.compile(resolve(schema, root), root, python_name, seen)
            return seen[ref]
        if "items" in schema:
            return cls.compile(schema["items"], root, python_name, seen)
        if "properties" not in schema:
            return None
        keys = cls()
        for wire, below in schema["properties"].items():
            python = python_name(wire)
            keys.python_names[wire] = python
            keys.names[wire] = keys.names[python] = wire
            if (child := cls.compile(below, root, python_name, seen)) is not None:
                keys.below[wire] = keys.below[python] = child
        return keys

    def to_wire(self, value: Any) -> Any:
        """A value in wire names; keys that the schema does not name stay as they are."""
        kind = type(value)
        if kind is not dict:
            if kind is list or kind is tuple:
                try:
                    return [self.to_wire(item) for item in value if item is not None]
                except NotJson:
                    items = enumerate(item for item in value if item is not None)
                    raise first_not_json(self.to_wire, items) from None
            if is_dataclass(kind):
                value = value.__dict__
            elif not isinstance(value, dict):
                return plain(value)
        names, below, scalars, enums = self.names, self.below, _SCALARS, enum.EnumType
        data: dict[str, Any] = {}
        name = ""
        try:
            for name, item in value.items():
                kind = type(item)
                if kind in scalars:
                    data[names.get(name, name)] = item
                elif item is None:
                    continue
                elif name in below:
                    data[names[name]] = below[name].to_wire(item)
                elif type(kind) is enums:
                    data[names.get(name, name)] = item._value_
                elif kind is float and item - item == 0:  # finite
                    data[names.get(name, name)] = item
                else:
                    data[names.get(name, name)] = plain(item)
        except NotJson as exc:
            raise exc.within(names.get(name, name)) from None
        return data

    def from_wire(self, value: Any) -> Any:
        """Convert a value to the names in Python; keys that the schema does not name stay as they are."""
        if type(value) is list:
            return [self.from_wire(item) for item in value]
        if type(value) is not dict:
            return value
        names, below = self.python_names, self.below
        return {
            names.get(key, key): item if key not in below else below[key].from_wire(item) for key, item in value.items()
        }
