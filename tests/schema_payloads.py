"""Payloads made from the JSON schemas of OCPP: the smallest, the fullest, random and mutated ones.

The same seed gives the same payloads. It knows JSON schema only, and nothing of the kit: what is valid, an oracle says.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Path = tuple[str | int, ...]

OPEN = {"someKey": {"snake_key": [1, None, {"camelKey": 1.5}]}, "other_key": "ä"}  # what an open object may carry
RARE = {"minimum", "beyond minimum", "maximum", "beyond maximum", "maxItems", "maxItems + 1"}  # where a schema has them
_GONE = object()


class Site(NamedTuple):
    """A value in a payload, and the schema it answers to."""

    path: Path
    schema: dict[str, Any]
    value: Any


class Mutation(NamedTuple):
    """A payload that differs from a valid one in what ``kind`` says."""

    kind: str
    path: Path
    payload: Any


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or what its $ref points to."""
    while "$ref" in schema:
        schema = functools.reduce(lambda node, part: node[part], schema["$ref"].removeprefix("#/").split("/"), root)
    return schema


def smallest(root: dict[str, Any]) -> Any:
    """The required properties only."""
    return _value(root, root, lambda: False, random.Random(0))


def fullest(root: dict[str, Any]) -> Any:
    """Every property, at every depth."""
    return _value(root, root, lambda: True, random.Random(0))


def sample(root: dict[str, Any], rng: random.Random) -> Any:
    """About half of the optional properties."""
    return _value(root, root, lambda: rng.random() < 0.5, rng)


def _value(schema: dict[str, Any], root: dict[str, Any], wanted: Callable[[], bool], rng: random.Random) -> Any:
    schema = resolve(schema, root)
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            required = schema.get("required", ())
            value = {
                name: _value(below, root, wanted, rng)
                for name, below in schema.get("properties", {}).items()
                if name in required or wanted()
            }
            return value | OPEN if schema.get("additionalProperties", True) and wanted() else value
        case "array":
            size = max(1 if wanted() else 0, schema.get("minItems", 0))
            return [_value(schema["items"], root, wanted, rng) for _ in range(size)]
        case "string":
            if schema.get("format") == "date-time":
                return "2026-11-23T10:00:00Z"
            return "aé😀"[: schema.get("maxLength", 3)]
        case "integer":
            return int(_within(schema, 2))
        case "number":
            return float(_within(schema, 1.5))
        case "boolean":
            return True
        case None:
            return OPEN
        case other:
            raise NotImplementedError(f"type {other!r}")


def _within(schema: dict[str, Any], value: float) -> float:
    return min(max(value, schema.get("minimum", value)), schema.get("maximum", value))


def sites(payload: Any, root: dict[str, Any]) -> list[Site]:
    """Every value of a payload that the schema describes; the payload itself is the first."""

    def walk(path: Path, schema: dict[str, Any], value: Any) -> Iterator[Site]:
        schema = resolve(schema, root)
        yield Site(path, schema, value)
        if isinstance(value, dict):
            for name, below in schema.get("properties", {}).items():
                if name in value:
                    yield from walk((*path, name), below, value[name])
        elif isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                yield from walk((*path, index), schema["items"], item)

    return list(walk((), root, payload))


def replaced(payload: Any, path: Path, value: Any) -> Any:
    """A copy of the payload with another value there, or with none."""
    if not path:
        return value
    head, *rest = path
    copy = payload.copy()
    below = replaced(copy[head], tuple(rest), value)
    if below is _GONE:
        del copy[head]
    else:
        copy[head] = below
    return copy


def mutations(payload: Any, site: Site, root: dict[str, Any], rng: random.Random) -> list[Mutation]:
    """The payload with each of the changes that suit this site; some leave it valid."""
    return [Mutation(kind, site.path, replaced(payload, site.path, value)) for kind, value in _changes(site, root, rng)]


def _changes(site: Site, root: dict[str, Any], rng: random.Random) -> Iterator[tuple[str, Any]]:
    path, schema, value = site
    if path and isinstance(path[-1], str):
        yield "property dropped", _GONE
    yield "null", None
    for name, other in {"string": "1", "integer": 1, "boolean": False, "array": [], "object": {}}.items():
        if name != schema.get("type"):
            yield f"{name} for {schema.get('type', 'anything')}", other
    if "enum" in schema:
        yield "another of the enum", rng.choice(schema["enum"])
        yield "not of the enum", value + "x"
        yield "not of the enum", value.swapcase()
    match schema.get("type"):
        case "object":
            yield from _object_changes(schema, value, root)
        case "array":
            yield from _array_changes(schema, value, root)
        case "string" if "enum" not in schema:
            yield "empty string", ""
            yield "no date", "yesterday"
            if "maxLength" in schema:
                for text, name in (("x", "ASCII"), ("é", "BMP"), ("😀", "non-BMP")):
                    yield f"maxLength, {name}", text * schema["maxLength"]
                    yield f"maxLength + 1, {name}", text * (schema["maxLength"] + 1)
        case "integer":
            yield "1.0 for integer", float(value)
            yield "fraction for integer", value + 0.5
            yield "true for integer", True
            yield "negative", -1
            yield "huge integer", rng.choice((2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63)))
            yield "integer beyond 64 bits", rng.choice((2**64, 10**30, -(10**30)))
            yield from _bounds(schema, 1)
        case "number":
            yield "integer for number", int(value)
            yield "true for number", True
            yield "one decimal", rng.randrange(-9999, 99999) / 10
            yield "two decimals", rng.randrange(-9999, 99999) / 100
            yield "many decimals", rng.uniform(-100, 100)
            yield from _bounds(schema, 0.1)


def _object_changes(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "unknown key", value | {"unknownKey": 1}
    yield "no keys", {}
    yield "in an array", [value]
    for name in value:
        if name.lower() != name:
            yield "key in other letters", {key.lower() if key == name else key: item for key, item in value.items()}
            break
    optional = schema.get("properties", {}).keys() - value.keys()
    for name in sorted(optional)[:1]:
        yield "property added", value | {name: smallest_of(schema["properties"][name], root)}


def _array_changes(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    item = smallest_of(schema["items"], root)
    yield "no items", []
    yield "null item", [*value, None]
    yield "one more item", [*value, item]
    yield "array as object", {str(index): item for index, item in enumerate(value)}
    if schema.get("maxItems", 99) <= 20:
        yield "maxItems", [item] * schema["maxItems"]
        yield "maxItems + 1", [item] * (schema["maxItems"] + 1)


def _bounds(schema: dict[str, Any], step: float) -> Iterator[tuple[str, Any]]:
    for name, sign in (("minimum", -1), ("maximum", 1)):
        if name in schema:
            bound = int(schema[name]) if schema["type"] == "integer" else schema[name]
            yield name, bound
            yield f"beyond {name}", bound + sign * step


def smallest_of(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The smallest value of a schema within ``root``."""
    return _value(schema, root, lambda: False, random.Random(0))


def corpus(root: dict[str, Any], size: int, seed: str) -> list[Mutation]:
    """About ``size`` payloads: unmutated ones, and those with one or two mutations of as many kinds as there are."""
    rng = random.Random(seed)
    bases = [smallest(root), fullest(root), sample(root, rng), sample(root, rng)]
    found = [Mutation("as it was", (), payload) for payload in bases]
    kinds: dict[str, list[Mutation]] = {}
    for payload in bases:
        places = sites(payload, root)
        bounded = [site for site in places if RARE & site.schema.keys()]
        for site in [places[0], *rng.sample(places, min(len(places), 12)), *rng.sample(bounded, min(len(bounded), 3))]:
            for mutation in mutations(payload, site, root, rng):
                kinds.setdefault(mutation.kind, []).append(mutation)
    while kinds and len(found) < size:
        for kind in sorted(rng.sample(sorted(kinds), len(kinds)), key=lambda kind: kind not in RARE):
            found.append(kinds[kind].pop(rng.randrange(len(kinds[kind]))))
            if not kinds[kind]:
                del kinds[kind]
    del found[size:]
    for mutation in rng.sample(found, min(len(found), max(size // 10, 1))):  # and another one on top
        if isinstance(mutation.payload, dict):
            site = rng.choice(sites(mutation.payload, root))
            if again := _suiting(mutation.payload, site, root, rng):
                found.append(Mutation("two mutations", site.path, rng.choice(again).payload))
    return found


def _suiting(payload: Any, site: Site, root: dict[str, Any], rng: random.Random) -> list[Mutation]:
    """Mutations of a payload that may be broken already."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": float, "boolean": bool}
    if not isinstance(site.value, kinds.get(site.schema.get("type", ""), object)):
        return []
    return mutations(payload, site, root, rng)
