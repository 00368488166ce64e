"""What the chat tests share: conversations, a plain reference for Jinja, a renderer that is closed whatever happens."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from server.chat.renderer import Renderer
from server.settings import Settings

TEMPLATES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))
BENIGN = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
PLAIN: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Is 1 < 2 & 'so' \"on\"? Grüße 🙂\n"},
    {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nIt is."},
    {"role": "user", "content": "{{ messages }} {% raw %}"},
]
CALLING: list[dict[str, Any]] = [
    {"role": "system", "content": "You may call tools."},
    {"role": "user", "content": "How warm is it in Zürich?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "abcdefghi",
                "type": "function",
                "function": {"name": "temperature", "arguments": {"city": "Zürich", "unit": "<C>"}},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "abcdefghi", "name": "temperature", "content": '{"value": 21}'},
    {"role": "assistant", "content": "21 degrees."},
    {"role": "user", "content": "Thanks"},
]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "temperature",
            "description": "The temperature of a city, e.g. 'Genève'",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "its <name>"}, "unit": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


class ReferenceGeneration(Extension):
    """`{% generation %}` as `transformers` has it: a call block."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    def _support(self, caller: Any) -> str:
        return str(caller())


def reference_environment() -> jinja2.Environment:  # noqa: TID251  # a plain one is the point of a reference
    """Jinja as `apply_chat_template` sets it up, without sandbox, bounds or anything of ours."""
    environment = jinja2.Environment(  # noqa: TID251
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, ReferenceGeneration]
    )
    environment.globals |= {"raise_exception": _raise, "strftime_now": lambda form: datetime.now().strftime(form)}
    environment.filters["tojson"] = _to_json
    return environment


def reference(template: str, **variables: Any) -> str:
    """The rendering that ours has to equal."""
    return reference_environment().from_string(template).render(documents=None, **variables)


@asynccontextmanager
async def running_renderer(seconds: float = 1.2) -> AsyncIterator[Renderer]:
    renderer = Renderer(Settings(template_seconds=seconds))
    await renderer.start()
    try:
        yield renderer
    finally:
        await renderer.close()


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(x: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent)
