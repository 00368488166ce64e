"""A JSON Schema made ready for llguidance: what it would misread is written in its way, or refused."""

from typing import Any

from .errors import InvalidValue

LARGEST = 2**53  # beyond it llguidance's arithmetic is that of doubles, and an answer could be out of bounds
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
ANNOTATIONS = frozenset({"default", "examples"})
DEEPEST = 200
# Compact JSON with the separators that models were trained on. Free white space would let a small model run on in it.
OPTIONS: dict[str, Any] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


def tuned(schema: Any, param: str) -> Any:
    """The schema, prepared, with what llguidance is told of white space. Raises InvalidValue."""
    ready = prepared(schema, param)
    return ready | {"x-guidance": OPTIONS} if isinstance(ready, dict) else ready


def prepared(schema: Any, param: str, depth: int = 0) -> Any:
    """The schema with whole counts as integers, and `true` as `{}`.

    Raises InvalidValue for what is too deep, and for numbers that cannot be enforced.
    """
    if depth > DEEPEST:
        raise InvalidValue(f"{param}: the schema nests more than {DEEPEST} levels deep.", param=param)
    if depth == 0 and schema is True:
        return {}
    if isinstance(schema, list):
        return [prepared(item, param, depth + 1) for item in schema]
    if isinstance(schema, dict):
        return {key: _value(key, value, param, depth) for key, value in schema.items()}
    if isinstance(schema, int) and abs(schema) > LARGEST:
        raise InvalidValue(
            f"{param}: the number {str(schema)[:40]} is beyond 2**53 and cannot be enforced.", param=param
        )
    return schema


def _value(key: str, value: Any, param: str, depth: int) -> Any:
    if isinstance(value, float):
        if key in BOUNDS and abs(value) > LARGEST:
            raise InvalidValue(f"{param}: {key} {value} is beyond 2**53 and cannot be enforced.", param=param)
        return int(value) if key in COUNTS and value.is_integer() else value
    return value if key in ANNOTATIONS else prepared(value, param, depth + 1)
