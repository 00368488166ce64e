"""Qwen3-Coder: tags, and the arguments between them as they are, without quotes (`tag_reader` shows one).

Which of them are numbers, lists and so on follows from the function's schema (`parameters`).
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ...errors import InvalidValue
from ...json_schemas import tuned
from .base import Messages, NewId, Tool, ToolChoice, ToolParser
from .grammar import chosen, literal
from .parameters import TEXT, Kinds, kinds_of, properties_of, read, resolved
from .tag_reader import CALL, CALL_END, FUNCTION, FUNCTION_END, LONGEST_KEY, PARAMETER, PARAMETER_END, TagReader
from .written import call_id, knows_tools

_VALUE_END = literal(f"\n{PARAMETER_END}\n")
_ENDS_NOT = r"~/(?s:.*)<\/parameter>(?s:.*)/"
_GROUP = f'"\\n" call "\\n" marker_1\nmarker_1: {literal(CALL_END)}'
_ANYTHING = (
    f"other: {literal(PARAMETER)} KEY {literal('>' + chr(10))} value",
    r"KEY: /[A-Za-z_][A-Za-z0-9_.-]{0,63}/",
    f"VALUE: /(?s:.*)/ & {_ENDS_NOT}",
    f"value[lazy]: VALUE {_VALUE_END}",
)


class Qwen3CoderFormat(Struct, frozen=True):
    name: str = "qwen3-coder"
    shown: tuple[str, ...] = (CALL, CALL_END)

    def matches(self, template: str) -> bool:
        return knows_tools(template) and PARAMETER in template

    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        return [_with_objects(message) for message in messages], [tool.for_template() for tool in tools] or None

    def grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> str:
        lines = [
            "%llguidance {}",
            f"start: {'calls' if choice.parallel else 'group'}",
            'calls: group ("\\n" group)*',
            f"marker_0: {literal(CALL)}",
            f"group: marker_0 {_GROUP}",
        ]
        return "\n".join([*lines, *_calls(chosen(tools, choice)), ""])

    def grammar_auto(self, tools: Sequence[Tool], choice: ToolChoice) -> str | None:
        if not any(tool.strict for tool in tools):
            return None
        lines = [
            "%llguidance {}",
            rf"TEXT: /(?s:.*)/ & ~/(?s:.*)({CALL}|{FUNCTION})(?s:.*)/",
            f"start: group{'*' if choice.parallel else '?'} TEXT",
            f"head_0[lazy]: TEXT {literal(CALL)}",
            f"group: head_0 {_GROUP}",
        ]
        return "\n".join([*lines, *_calls([tool if tool.strict else Tool(tool.name) for tool in tools]), ""])

    def parser(self, tools: Sequence[Tool], new_id: NewId | None = None) -> ToolParser:
        return TagReader(tools, new_id or call_id)


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    """The message with arguments that its template can go through: those that are no object are one of themselves."""
    if not message.get("tool_calls"):
        return message
    calls = [call | {"function": _with_object(call["function"])} for call in message["tool_calls"]]
    return message | {"tool_calls": calls}


def _with_object(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    return function if isinstance(arguments, dict) else function | {"arguments": {"arguments": arguments}}


def _calls(tools: Sequence[Tool]) -> list[str]:
    """The rules of a call of one of these functions."""
    lines = [f"call: {' | '.join(f'call_{number}' for number in range(len(tools)))}", *_ANYTHING]
    for number, tool in enumerate(tools):
        lines += _call(f"call_{number}", tool)
    return lines


def _call(rule: str, tool: Tool) -> list[str]:
    """The arguments in the order of the schema. A schema that names none and forbids none takes any."""
    root = resolved(tool.parameters, tool.parameters)
    if {"anyOf", "oneOf", "allOf"} & root.keys():
        raise InvalidValue(
            f"tools: this model writes arguments one by one, so the parameters of {tool.name} have to be one object"
            " with properties, not a choice of such.",
            param="tools",
        )
    required = [key for key in root.get("required", ()) if isinstance(key, str)]
    schemas = {**properties_of(tool), **{key: {} for key in required if key not in properties_of(tool)}}
    parts, lines = [], []
    for place, (key, schema) in enumerate(schemas.items()):
        if not key or len(key) > LONGEST_KEY or re.search(r"[>\n]", key):
            raise InvalidValue(f"tools: this model cannot write a parameter {key[:60]!a}.", param="tools")
        argument = f"{rule}_{place}"
        lines += _argument(argument, key, schema, tool)
        parts.append(argument if key in required else f"{argument}?")
    if not schemas and root.get("additionalProperties") is not False:
        parts = ["other*"]
    begin = literal(f"{FUNCTION}{tool.name}>\n")
    return [f"{rule}: {' '.join([begin, *parts, literal(FUNCTION_END)])}", *lines]


def _argument(rule: str, key: str, schema: Any, tool: Tool) -> list[str]:
    """The rules of one argument. Of one that may be a string, or something else, any text is taken."""
    begin = literal(f"{PARAMETER}{key}>\n")
    said, kinds = resolved(schema, tool.parameters), kinds_of(schema, tool.parameters)
    values = said["enum"] if isinstance(said.get("enum"), list) else [said["const"]] if "const" in said else []
    if values:
        return [f"{rule}: {begin} ({' | '.join(map(literal, _texts(key, values, kinds)))}) {_VALUE_END}"]
    if "string" not in kinds:
        whole = said | {name: tool.parameters[name] for name in ("$defs", "definitions") if name in tool.parameters}
        return [f"{rule}: {begin} %json {json.dumps(tuned(whole, 'tools'))} {_VALUE_END}"]
    if kinds != TEXT or not {"minLength", "maxLength", "pattern"} & said.keys():
        return [f"{rule}: {begin} value"]
    name = rule.upper()
    bounds = f"{_length(said, 'minLength') or 0},{_length(said, 'maxLength')}"
    pattern = f" & /{_anywhere(said['pattern'])}/" if isinstance(said.get("pattern"), str) else ""
    return [
        f"{name}: /(?s:.{{{bounds}}})/{pattern} & {_ENDS_NOT}",
        f"{rule}_end[lazy]: {name} {_VALUE_END}",
        f"{rule}: {begin} {rule}_end",
    ]


def _texts(key: str, values: list[Any], kinds: Kinds) -> list[str]:
    """The values as they are written, without those that would be read as something else. Raises InvalidValue."""
    written = [(value if isinstance(value, str) else json.dumps(value), value) for value in values]
    sure = [text for text, value in written if PARAMETER_END not in text and json.loads(read(text, kinds)) == value]
    if not sure:
        raise InvalidValue(f"tools: this model cannot write any value of the parameter {key[:60]!a}.", param="tools")
    return sure


def _length(said: dict[str, Any], name: str) -> str:
    """A bound of the schema; nothing where there is none, or none that can be read."""
    value = said.get(name)
    return str(int(value)) if isinstance(value, int | float) and 0 <= value < 2**31 else ""


def _anywhere(pattern: str) -> str:
    """A pattern of JSON Schema, which may match anywhere in a text, as one that matches the whole."""
    inner = pattern.removeprefix("^")
    last = inner.endswith("$") and not inner.endswith(r"\$")
    escaped = re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", inner[:-1] if last else inner, flags=re.DOTALL)
    return f"{'' if pattern != inner else '(?s:.*)'}(?:{escaped}){'' if last else '(?s:.*)'}"


FORMAT = Qwen3CoderFormat()
