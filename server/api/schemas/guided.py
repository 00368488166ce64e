"""The fields that hold an answer to a form, as OpenAI, vLLM and llama-server name them, parsed into a `Grammar`."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...chat.gbnf import GbnfError, is_gbnf, lark_of
from ...errors import InvalidValue, UnsupportedField
from ...types import Grammar

MOST_SOURCE = 256 * 1024  # bytes of a grammar or schema
MOST_CHOICES = 1024
ANY_OBJECT = {"type": "object"}

Schema = dict[str, Any]
Pattern = Annotated[str, StringConstraints(min_length=1)]
Choices = Annotated[list[Pattern], Field(min_length=1, max_length=MOST_CHOICES)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class TextFormat(_Body):
    type: Literal["text"]


class JsonObjectFormat(_Body):
    """Any JSON object; with `schema`, as llama-server has it, one that matches."""

    type: Literal["json_object"]
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class NamedSchema(_Body):
    """A JSON Schema. It is enforced whether `strict` or not."""

    name: Annotated[str, StringConstraints(max_length=256)] = ""
    description: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(_Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StructuredOutputs(_Body):
    """VLLM's name for all of them."""

    model_config = ConfigDict(strict=True, extra="allow")

    json_: Annotated[Schema | str | None, Field(alias="json")] = None
    json_object: bool | None = None
    regex: Pattern | None = None
    choice: Choices | None = None
    grammar: Pattern | None = None


class GuidedFields(BaseModel):
    """A mixin of request schemas. At most one of the fields may be given."""

    response_format: ResponseFormat | None = None
    guided_json: Annotated[Schema | str | None, Field(description="A JSON Schema, or the text of one")] = None
    guided_regex: Pattern | None = None
    guided_choice: Choices | None = None
    guided_grammar: Annotated[Pattern | None, Field(description="Lark as llguidance reads it, or GBNF")] = None
    structured_outputs: StructuredOutputs | None = None
    json_schema: Schema | None = None
    grammar_: Annotated[str | None, Field(alias="grammar", description="GBNF, or Lark as llguidance reads it")] = None

    def grammar(self) -> Grammar | None:
        """What the answer must match. Raises InvalidValue, with `param`, where two are asked for or one is wrong."""
        asked = list(self._asked())
        if len(asked) > 1:
            names = " and ".join(name for name, _, _ in asked[:2])
            raise InvalidValue(f"{asked[1][0]}: one answer cannot be held to both {names}.", param=asked[1][0])
        return _grammar(*asked[0]) if asked else None

    def _asked(self) -> Iterator[tuple[str, "Kind", Any]]:
        """Each form that is asked for: the field, the kind, and what it says."""
        match self.response_format:
            case JsonObjectFormat(schema_=schema):
                yield "response_format", "schema", ANY_OBJECT if schema is None else schema
            case JsonSchemaFormat(json_schema=named):
                yield "response_format", "schema", {} if named.schema_ is None else named.schema_
        forms: tuple[tuple[str, Kind, Any], ...] = (
            ("guided_json", "schema", self.guided_json),
            ("guided_regex", "regex", self.guided_regex),
            ("guided_choice", "choice", self.guided_choice),
            ("guided_grammar", "grammar", self.guided_grammar),
            ("json_schema", "schema", self.json_schema),
            ("grammar", "grammar", self.grammar_ or None),  # llama-server's empty grammar is none
        )
        yield from (form for form in forms if form[2] is not None)
        if self.structured_outputs is not None:
            yield from _structured(self.structured_outputs)


Kind = Literal["schema", "regex", "choice", "grammar"]


def _structured(asked: StructuredOutputs) -> Iterator[tuple[str, Kind, Any]]:
    sent = asked.model_extra or {}
    for name in ("structural_tag", "whitespace_pattern", "disable_additional_properties"):
        if sent.get(name):
            param = f"structured_outputs.{name}"
            raise UnsupportedField(f"{param}: this server cannot honour it; leave it out.", param=param)
    forms: tuple[tuple[str, Kind, Any], ...] = (
        ("json", "schema", asked.json_),
        ("json_object", "schema", ANY_OBJECT if asked.json_object else None),
        ("regex", "regex", asked.regex),
        ("choice", "choice", asked.choice),
        ("grammar", "grammar", asked.grammar),
    )
    yield from ((f"structured_outputs.{name}", kind, said) for name, kind, said in forms if said is not None)


def _grammar(param: str, kind: Kind, said: Any) -> Grammar:
    if kind == "schema":
        return Grammar("json_schema", _schema(param, said), param, json=True)
    if kind == "regex":
        return Grammar("regex", _bounded(param, said), param)
    if kind == "choice":
        return Grammar("regex", _bounded(param, "|".join(map(escaped, said))), param)
    if kind == "grammar":
        source = _bounded(param, said)
        try:
            return Grammar("lark", lark_of(source) if is_gbnf(source) else source, param)
        except GbnfError as error:
            raise InvalidValue(f"{param}: {error}", param=param) from None
    assert_never(kind)


def grammar_of_schema(param: str, schema: Schema | str) -> Grammar:
    """What holds an answer to a JSON Schema that the field `param` brought. Raises InvalidValue."""
    return Grammar("json_schema", _schema(param, schema), param, json=True)


def _schema(param: str, said: Schema | str) -> str:
    """The text of a JSON Schema. A text is read, so that a wrong one fails here and not in the engine."""
    if isinstance(said, str):
        try:
            said = json.loads(_bounded(param, said))
        except (ValueError, RecursionError):
            raise InvalidValue(f"{param}: this is not JSON.", param=param) from None
        if not isinstance(said, dict):
            raise InvalidValue(f"{param}: a JSON Schema is an object.", param=param)
    try:
        return _bounded(param, json.dumps(said, ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError):
        raise InvalidValue(f"{param}: it has a number or a depth that JSON does not have.", param=param) from None


def _bounded(param: str, source: str) -> str:
    try:
        size = len(source.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"{param}: half of a surrogate pair is not a character.", param=param) from None
    if size > MOST_SOURCE:
        raise InvalidValue(f"{param}: {size} bytes are more than the {MOST_SOURCE} that are read.", param=param)
    return source


def escaped(text: str) -> str:
    """A regular expression that matches the text. `re.escape` escapes more than other readers know."""
    return re.sub(r"[\\.+*?()|\[\]{}^$#&~/-]", lambda found: f"\\{found[0]}", text)
