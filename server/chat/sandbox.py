"""The Jinja environment of chat templates: the dialect of Hugging Face's `apply_chat_template`, sandboxed.

Source of the dialect: `transformers/utils/chat_template_utils.py`, `_compile_jinja_template`. Three things differ, and
no template of a model should notice: operations that make huge values are refused (`bounds`), nothing of a template
runs while it compiles, and the globals `cycler`, `joiner` and `lipsum`, which exploits use and models do not, are gone.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

from . import bounds

LONGEST_MESSAGE = 500
LONGEST_DATE_FORMAT = 100
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class TemplateRefusal(TemplateError):
    """The template itself refuses the conversation (`raise_exception`)."""


class GenerationTag(Extension):
    """`{% generation %}` marks the assistant's text for training. For rendering it is its body, a scope of its own."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class ChatCodeGenerator(CodeGenerator):
    """Compiles without evaluating anything, and sends `~` through the bounds as the sandbox does operators."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        # Jinja evaluates constant output here even when the optimizer is off: {{ 'a'|center(900000000) }}
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  # Jinja's visitor names
        self.write("environment.concatenate(context, (")
        for child in node.nodes:
            self.visit(child, frame)
            self.write(", ")
        self.write("))")


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose operations refuse to make huge values."""

    code_generator_class = ChatCodeGenerator
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _OPERATORS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format` and `format_map`
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | int):
            bounds.check_method(owner, method.__name__, [*args, *kwargs.values()])
        return super().call(context, function, *args, **kwargs)

    def concatenate(self, context: Context, parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        bounds.check_join("", parts)
        return markup_join(parts) if context.eval_ctx.autoescape else str_join(parts)


def make_environment() -> ChatEnvironment:
    """A fresh environment. The caller compiles with `from_string`, which runs nothing of the template."""
    environment = ChatEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # folding constants would run the template's operators while it compiles
        extensions=[loopcontrols, GenerationTag],
    )
    for name in ("cycler", "joiner", "lipsum"):
        del environment.globals[name]
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    environment.filters["tojson"] = _to_json
    for name, check in _FILTERS.items():
        environment.filters[name] = _checked(environment.filters[name], check)
    return environment


def describe(error: BaseException) -> str:
    """One sentence about why a template failed, for the client: no traceback, address or path."""
    if isinstance(error, MemoryError | OverflowError):
        return "The chat template needs more memory than it may have."
    if isinstance(error, RecursionError):
        return "The chat template nests too deeply."
    if isinstance(error, TemplateRefusal):
        return f"The chat template refused the conversation: {_tame(error)}"
    if isinstance(error, TemplateSyntaxError):
        return f"The chat template is not valid, line {error.lineno}: {_tame(error.message)}"
    if isinstance(error, SyntaxError):  # of the Python that Jinja made: too many nested blocks or brackets
        return f"The chat template is too complex: {_tame(error.msg)}"
    if isinstance(error, SecurityError):
        return f"The chat template did what it may not do: {_tame(error)}"
    return f"The chat template failed: {type(error).__name__}: {_tame(error)}"


def _tame(text: object) -> str:
    """Words that a template chose, as one bounded line that can be encoded."""
    line = " ".join(_ADDRESS.sub("", str(text)[: 4 * LONGEST_MESSAGE]).split())
    return line[:LONGEST_MESSAGE].encode("utf-8", "replace").decode()


def _raise_exception(message: object) -> NoReturn:
    raise TemplateRefusal(str(message))


def _strftime_now(form: str) -> str:
    if len(form) > LONGEST_DATE_FORMAT:
        raise SecurityError("it formats a date by a very long pattern")
    return datetime.now().astimezone().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own filter this escapes nothing for HTML: the reader is a model."""
    if indent is not None and (indent if isinstance(indent, int) else len(indent)) > 16:
        raise SecurityError("it indents JSON very widely")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _checked(inner: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """A filter whose arguments are checked first. What Jinja marks on the function (`pass_environment`) stays."""
    skipped = 1 if hasattr(inner, "jinja_pass_arg") else 0

    @wraps(inner)
    def checked(*args: Any, **options: Any) -> Any:
        check(*args[skipped:], **options)
        return inner(*args, **options)

    return checked


def _check_counts(_: object, *args: object, **options: object) -> None:
    bounds.check_numbers((*args, *options.values()))


def _check_format(value: object, *args: object, **options: object) -> None:
    bounds.check_percent(str(value), options or args)


def _check_join(value: object, d: object = "", attribute: object = None) -> None:
    bounds.check_join(d, value)


def _check_replace(s: object, old: object, new: object, count: object = None) -> None:
    bounds.check_replace(s, old, new)


def _check_indent(s: object, width: object = 4, first: bool = False, blank: bool = False) -> None:
    if isinstance(width, str):
        bounds.check_replace(s, "\n", width)
    bounds.check_numbers((width,))


_OPERATORS: Mapping[str, Callable[[Any, Any], None]] = {
    "+": bounds.check_sum,
    "*": bounds.check_product,
    "**": bounds.check_power,
    "%": bounds.check_percent,
}
_FILTERS: Mapping[str, Callable[..., None]] = {
    "batch": _check_counts,
    "center": _check_counts,
    "format": _check_format,
    "indent": _check_indent,
    "join": _check_join,
    "replace": _check_replace,
    "round": _check_counts,
    "slice": _check_counts,
    "truncate": _check_counts,
    "wordwrap": _check_counts,
}
