"""JSON schemas: follows references, and makes the smallest value that a schema allows. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import reduce
from typing import Any

__all__ = ["example", "resolve"]


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a ``$ref`` points to; a schema without ``$ref`` as it is."""
    ref = schema.get("$ref")
    if ref is None:
        return schema
    target: Mapping[str, Any] = reduce(lambda node, part: node[part], ref.removeprefix("#/").split("/"), root)
    return target


def example(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """The smallest value that a schema allows; a status is "Accepted" if the schema allows that."""
    schema = resolve(schema, root)
    if "enum" in schema:
        return "Accepted" if "Accepted" in schema["enum"] else schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: example(properties[name], root) for name in schema.get("required", [])}
        case "array":
            return [example(schema["items"], root)] * schema.get("minItems", 0)
        case "string":
            return datetime.now(UTC).isoformat() if schema.get("format") == "date-time" else ""
        case "boolean":
            return False
        case "integer":
            return int(schema.get("minimum", 0))
        case _:
            return schema.get("minimum", 0)
