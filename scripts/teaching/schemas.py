"""JSON Schema. Its library takes a second to load, so runs without a schema go without it."""

from collections.abc import Iterator
from typing import Any

from server.errors import InvalidValue


def complaint(schema: dict[str, Any]) -> str:
    """What is wrong with a schema, in words; nothing where nothing is."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if any(not ref.startswith("#") for ref in references(schema)):
        return "a $ref may lead to a place in the schema only, such as #/$defs/name"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{error.json_path}: {error.message}"
    return ""


def mismatch(schema: dict[str, Any], document: Any) -> str:
    """Where and how a document does not match; nothing where it does. Raises InvalidValue for a $ref to nothing."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:  # a registry of its own: without one, a $ref to an address would be fetched
        wrong = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(document))
    except Unresolvable as error:
        raise InvalidValue(f"The JSON schema of the task has no place {error.ref}.") from None
    return f"{wrong.json_path}: {wrong.message[:200]}" if wrong else ""


def references(schema: Any) -> Iterator[str]:
    """Where the $refs of a schema lead."""
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from references(inner)
