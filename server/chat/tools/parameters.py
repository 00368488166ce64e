"""Arguments of a call that are written one by one and without quotes: what each may be, and what its text says. Pure.

A text is read as JSON only where the schema allows what it then is. So `5` is a text for a string, a number for an
integer, and a number for either; `True` and `None` are read too, since templates write past calls as Python does.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from .base import Tool

Kinds = frozenset[str]

ANY: Kinds = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
TEXT: Kinds = frozenset({"string"})
_WORDS = {"true": "true", "false": "false", "null": "null", "none": "null"}
_DEEPEST = 8


def resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, found where it refers to one of `root`; empty for one that says nothing or cannot be found."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str):
            break
        schema = root if reference.startswith("#") else None
        for step in reference.split("/")[1:]:
            schema = schema.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(schema, dict) else None
    return schema if isinstance(schema, dict) else {}


def properties_of(tool: Tool) -> dict[str, Any]:
    """The schemas of a function's arguments, by name."""
    found = resolved(tool.parameters, tool.parameters).get("properties")
    return found if isinstance(found, dict) else {}


def kinds_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Kinds:
    """The types of JSON that a schema allows: all where it does not say."""
    said = resolved(schema, root)
    if depth > _DEEPEST:
        return ANY
    if isinstance(said.get("enum"), list):
        return frozenset(_kind(value) for value in said["enum"])
    if "const" in said:
        return frozenset({_kind(said["const"])})
    if "type" in said:
        named = said["type"] if isinstance(said["type"], list) else [said["type"]]
        return frozenset(kind for kind in named if isinstance(kind, str)) & ANY or ANY
    for way in ("anyOf", "oneOf"):
        if isinstance(said.get(way), list):
            return frozenset().union(*(kinds_of(branch, root, depth + 1) for branch in said[way])) or ANY
    if isinstance(said.get("allOf"), list):
        return ANY.intersection(*(kinds_of(part, root, depth + 1) for part in said["allOf"])) or ANY
    return ANY


def read(text: str, kinds: Kinds) -> str:
    """The JSON text of an argument whose text is `text`. What fits no kind is a string: nothing is lost."""
    written = _WORDS.get(text.strip().lower(), text.strip())
    if kinds != TEXT:
        try:
            kind = _kind(json.loads(written, parse_constant=_refuse))
        except (ValueError, RecursionError):  # also a number of too many digits, or brackets too deep
            kind = "string"
        whole = kind == "number" and "integer" in kinds and float(written).is_integer()
        if kind != "string" and (kind in kinds or whole or (kind == "integer" and "number" in kinds)):
            return written
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """A piece of text as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
