"""Grammars that make a model call tools: llguidance's Lark, from the shape in which a format writes calls.

A marker is a rule of its own that spells it out, `marker_0: "<|tool_call|>"`, so that a grammar is right for any
tokenizer. Where the marker is a special token of the model, `with_tokens` puts the token there: only the worker has
the tokenizer, and a model that was trained on a token does not spell its name.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from ...errors import InvalidValue
from ...json_schemas import tuned
from .base import Tool, ToolChoice
from .json_stream import CALL_KEYS
from .reader import Layout

_MARKER = re.compile(
    r"^(?P<rule>(?:marker|head)_\d+)(?:\[lazy\])?: (?P<text>[A-Z]+ )?(?P<marker>\".*\")$", re.MULTILINE
)

# An object, or a list of such, whose first key is one of a call's, or is written with an escape and may be one.
_DOUBTFUL = rf'\s*(\[\s*)?\{{\s*"({"|".join(sorted(CALL_KEYS))}|[^"\\]*\\)'


class Shape(Struct, frozen=True):
    """How a format writes calls: `marker opening (begin name middle ARGUMENTS close) closing end`.

    `listed` calls stand `between` each other behind one marker; others are written with marker and end each time.
    `quoted`: the name is inside a JSON string.
    """

    middle: str
    begin: str = ""
    close: str = ""
    marker: str = ""
    opening: str = ""
    closing: str = ""
    end: str = ""
    between: str = ""
    listed: bool = False
    quoted: bool = True


def chosen(tools: Sequence[Tool], choice: ToolChoice) -> list[Tool]:
    """The tools that may be called. Raises InvalidValue where there is none."""
    found = [tool for tool in tools if choice.mode != "named" or tool.name == choice.name]
    if not found:
        raise InvalidValue("tool_choice: there is no such function in tools", param="tool_choice")
    return found


def forcing(shape: Shape, tools: Sequence[Tool], choice: ToolChoice) -> str:
    """A grammar for an answer that is one call, or several where `choice` allows it, and nothing else."""
    lines = ["%llguidance {}", f"start: {'calls' if choice.parallel else 'group'}", "calls: group"]
    if choice.parallel and not shape.listed:
        lines[-1] = f"calls: group ({literal(shape.between)} group)*"
    marker = "marker_0" if shape.marker else ""
    return "\n".join([*lines, *_group(shape, chosen(tools, choice), choice, marker), *_markers(shape), ""])


def permitting(shape: Shape, layout: Layout, tools: Sequence[Tool], choice: ToolChoice) -> str:
    """A grammar for text with calls in it, where there is a marker, or else for either text or calls.

    Text holds nothing that the parser would take for a call: no marker, also not spelled out where it is a token, and
    no object with the keys of one where a call may come without a marker. Only strict tools have their schemas
    enforced; of the others any object is taken.
    """
    loose = [tool if tool.strict else Tool(tool.name) for tool in tools]
    refused = [_DOUBTFUL]
    for opening in layout.openings:
        # The marker of another way to write calls may be a plain word, so only with a bracket behind it.
        behind = "" if opening.marker == shape.marker else r"\s*[\[{]" if opening.sure else _DOUBTFUL
        refused.append(f"(?s:.*){_regex(opening.marker)}{behind}")
    if layout.bare and layout.bare.separators:
        names = "|".join(_regex(tool.name) for tool in tools)
        separators = "|".join(_regex(separator) for separator in layout.bare.separators)
        refused.append(rf"\s*({names})({separators})\s*\{{")
    lines = ["%llguidance {}", f"TEXT: /(?s:.*)/ & ~/({'|'.join(refused)})(?s:.*)/"]
    if shape.marker:
        lines.append(f"start: group{'*' if choice.parallel else '?'} TEXT")
        lines.append(f"head_0[lazy]: TEXT {literal(shape.marker)}")
        lines += [*_group(shape, loose, choice, "head_0"), *_markers(shape)[1:], ""]
    else:
        lines += ["start: TEXT | group", *_group(shape, loose, choice, ""), ""]
    return "\n".join(lines)


def thought_before(name: str, *, inside: bool) -> str:
    """A grammar of a thought, and then of the grammar `name`: the answer may begin a thought, or is `inside` one.

    The other is a grammar of its own in llguidance, so that its rules and words may be called anything.
    """
    lines = [
        "%llguidance {}",
        f"start: {'thought' if inside else '(marker_8 thought)?'} @{name}",
        r"thought: head_9 /\n{0,2}/",
        r"THOUGHT: /(?s:.*)/ & ~/(?s:.*)<\/think>(?s:.*)/",
        'head_9[lazy]: THOUGHT "</think>"',
        *([] if inside else ['marker_8: "<think>"']),
    ]
    return "\n".join([*lines, ""])


def or_else(source: str, answer: str) -> str:
    """A grammar of calls, for an answer that is calls or `answer`, which is written as part of a Lark rule."""
    return re.sub(r"^start: (\w+)$", lambda found: f"start: {found[1]} | {answer}", source, count=1, flags=re.MULTILINE)


def with_tokens(source: str, token: Callable[[str], int | None]) -> str:
    """The grammar with special tokens for the markers that are such tokens, by `token`'s account."""

    def line(found: re.Match[str]) -> str:
        number = token(json.loads(found["marker"]))
        return found[0] if number is None else f"{found['rule']}: {found['text'] or ''}<[{number}]>"

    return _MARKER.sub(line, source)


def _group(shape: Shape, tools: Sequence[Tool], choice: ToolChoice, head: str) -> list[str]:
    """The rules of what stands between a marker and its end."""
    call = " | ".join(f"call_{number}" for number in range(len(tools)))
    more = f"({literal(shape.between)} call)*" if shape.listed and choice.parallel else ""
    end = "marker_1" if shape.end else ""
    parts = [head, literal(shape.opening), "call", more, literal(shape.closing), end]
    lines = [f"group: {' '.join(part for part in parts if part)}", f"call: {call}"]
    for number, tool in enumerate(tools):
        name = json.dumps(tool.name, ensure_ascii=False)[1:-1] if shape.quoted else tool.name
        begin = literal(shape.begin + name + shape.middle)
        lines.append(f"call_{number}: {begin} %json {json.dumps(_schema(tool))} {literal(shape.close)}".rstrip())
    return lines


def _markers(shape: Shape) -> list[str]:
    return [
        f"marker_{number}: {literal(text)}" if text else "" for number, text in enumerate((shape.marker, shape.end))
    ]


def _schema(tool: Tool) -> dict[str, Any]:
    """The arguments' schema, an object in any case: a client parses arguments into one."""
    schema = dict(tool.parameters)
    if not {"type", "$ref", "anyOf", "oneOf", "allOf"} & schema.keys():
        schema["type"] = "object"
    ready: dict[str, Any] = tuned(schema, "tools")
    return ready


def literal(text: str) -> str:
    """A text as Lark writes it, which is as JSON does; nothing for none."""
    return json.dumps(text) if text else ""


def _regex(text: str) -> str:
    return re.sub(r"[^\w\s]", lambda found: f"\\x{{{ord(found[0]):x}}}", text)
