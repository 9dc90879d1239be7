"""A message's schema as types of msgspec, which check a payload and write it as JSON in one pass, in C.

They let nothing through that the schema refuses, but not all that it allows. What they cannot express, or what is no
JSON value yet, is for ``frames``, which makes a payload in its own way and says what is wrong. No I/O.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec

__all__ = ["struct_of", "to_json"]

_SAYS_NOTHING = {"$schema", "$id", "title", "description", "comment", "javaType", "default", "format", "definitions"}
_SAYS_NOTHING |= {"additionalProperties"}  # of what is no object; of an object it is looked at
_INT64 = -(2**63), 2**63 - 1
_FLOAT64 = -sys.float_info.max, sys.float_info.max  # so that neither infinity nor what is not a number gets through

_encode = msgspec.json.Encoder().encode


def to_json(payload: object, struct: type[msgspec.Struct]) -> bytes | None:
    """A dataclass, or a dict in the schema's names, as JSON; None where it cannot be told that this is right.

    Of an object within, its dataclass's fields count, and attributes that the schema names; others are not looked at.
    """
    try:
        return _encode(msgspec.convert(payload, struct, from_attributes=True))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return None


def struct_of(
    schema: Mapping[str, Any], python_name: Callable[[str], str], dataclass_of: Callable[[str], type | None]
) -> type[msgspec.Struct] | None:
    """The type of a message's payload, or None where it cannot be expressed.

    Args:
        schema: Of JSON schema, draft 4, what OCPP's schemas have of it.
        python_name: Gives the dataclass's name for a name of the schema.
        dataclass_of: Gives the dataclass of a definition by its name, "" for the payload's own. Its fields are written
            first, in their order. What the schema names and it lacks, customData as a rule, it gets as an attribute
            that is None until an object sets its own.
    """
    return _Compiler(schema, python_name, dataclass_of).struct(schema, "")


class _Compiler:
    """Makes the types of one schema; each definition once."""

    def __init__(
        self, root: Mapping[str, Any], python_name: Callable[[str], str], dataclass_of: Callable[[str], type | None]
    ) -> None:
        self._root = root
        self._python_name = python_name
        self._dataclass_of = dataclass_of
        self._made: dict[str, Any] = {}

    def struct(self, schema: Mapping[str, Any], name: str) -> type[msgspec.Struct] | None:
        """The type of an object that has no other properties than those named; None for any other."""
        if not _has_only(schema, "type", "properties", "required") or schema.get("additionalProperties") is not False:
            return None
        properties, required = schema.get("properties", {}), set(schema.get("required", ()))
        wire_names = {self._python_name(wire): wire for wire in properties}
        if len(wire_names) < len(properties) or not required <= properties.keys():
            return None
        fields: list[tuple[str, Any] | tuple[str, Any, None]] = []
        for python in self._ordered(wire_names, self._dataclass_of(name)):
            wire = wire_names.get(python, "")
            kind = self._type(properties[wire]) if wire else None  # what is no property must be None
            if wire not in required:
                fields.append((python, None if kind is None else kind | None, None))
            elif kind is None:
                return None
            else:
                fields.append((python, kind))
        return msgspec.defstruct(
            name or "Payload",
            fields,
            rename=wire_names,
            kw_only=True,
            omit_defaults=True,
            forbid_unknown_fields=True,
        )

    def _ordered(self, names: Mapping[str, str], cls: type | None) -> list[str]:
        if cls is None:
            return list(names)
        known = [field.name for field in dataclasses.fields(cls)]
        lacking = [name for name in names if name not in known]
        for name in lacking:
            if not hasattr(cls, name):  # msgspec looks for it in every object; not to find it takes a microsecond
                setattr(cls, name, None)
        return known + lacking

    def _type(self, schema: Mapping[str, Any]) -> Any:
        """The type of a value; None where there is none."""
        if "$ref" in schema:
            return self._definition(schema["$ref"]) if _has_only(schema, "$ref") else None
        if "enum" in schema:
            is_plain = _has_only(schema, "type", "enum") and schema.get("type") == "string"
            return Literal[tuple(schema["enum"])] if is_plain else None
        match schema.get("type"):
            case "object":
                return self.struct(schema, "Object")
            case "array" if _has_only(schema, "type", "items", "additionalItems", "minItems", "maxItems"):
                items = self._type(schema["items"])
                bounds = msgspec.Meta(min_length=schema.get("minItems"), max_length=schema.get("maxItems"))
                return None if items is None else Annotated[list[items], bounds]  # type: ignore[valid-type]
            case "string" if _has_only(schema, "type", "maxLength"):
                return Annotated[str, msgspec.Meta(max_length=schema.get("maxLength"))]
            case "boolean" if _has_only(schema, "type"):
                return bool
            case "integer" if _has_only(schema, "type", "minimum", "maximum"):
                return _number(int, schema, *_INT64)
            case "number" if _has_only(schema, "type", "minimum", "maximum"):
                return _number(int, schema, *_INT64) | _number(float, schema, *_FLOAT64)
        return None

    def _definition(self, ref: str) -> Any:
        if ref not in self._made:
            self._made[ref] = None  # no OCPP schema refers to itself; this ends the recursion if one ever does
            schema = functools.reduce(lambda node, part: node[part], ref.removeprefix("#/").split("/"), self._root)
            name = ref.rpartition("/")[2]
            self._made[ref] = self.struct(schema, name) if schema.get("type") == "object" else self._type(schema)
        return self._made[ref]


def _has_only(schema: Mapping[str, Any], *keywords: str) -> bool:
    """Whether a schema says nothing else."""
    return not schema.keys() - _SAYS_NOTHING - {*keywords}


def _number(kind: type, schema: Mapping[str, Any], least: float, most: float) -> Any:
    least, most = max(least, schema.get("minimum", least)), min(most, schema.get("maximum", most))
    if kind is int:
        least, most = math.ceil(least), math.floor(most)
    return Annotated[kind, msgspec.Meta(ge=least, le=most)]
