"""The Jinja environment of chat templates: Hugging Face's dialect, sandboxed, with operators that stay small.

The sandbox stops a template from reaching the interpreter; it does not stop `'a' * 10**9`. Operators and string methods
that turn small input into large output are bounded here, so that most bombs fail at once; the render process's deadline
and memory limit end the rest.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_LENGTH = 1 << 20  # characters or items that one operation may make
MAX_NUMBER = 1 << 64
WIDENING = frozenset(["center", "ljust", "rjust", "zfill", "expandtabs"])


class TemplateRefusal(TemplateError):
    """The template itself refuses the conversation (`raise_exception`)."""


class GenerationTag(Extension):
    """`{% generation %}`: marks the assistant's text for training; when rendering it is only its body."""

    tags = {"generation"}  # noqa: RUF012  # Jinja declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose operators refuse to make huge values."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _BOUNDS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls of string methods that pad to a width, of format, join and replace, are bounded too."""
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str):
            _bound_string_method(owner, name, args)
        return super().call(context, function, *args, **kwargs)


def make_environment() -> ChatEnvironment:
    """A fresh environment, set up as `transformers` sets up its own (`apply_chat_template`)."""
    environment = ChatEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # folding constants would run the template's operators while it compiles
        extensions=[loopcontrols, GenerationTag],
    )
    for name in ("lipsum", "cycler", "joiner"):
        del environment.globals[name]
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    environment.filters["tojson"] = _to_json
    for name in ("center", "indent", "wordwrap", "format"):
        environment.filters[name] = _bounded_filter(environment.filters[name])
    return environment


def describe(error: BaseException) -> str:
    """One sentence about why a template failed, without addresses, paths or a traceback."""
    if isinstance(error, TemplateRefusal):
        return f"The chat template refused the conversation: {error.message}"
    if isinstance(error, MemoryError | OverflowError):
        return "The chat template needs more memory than it may have."
    if isinstance(error, RecursionError):
        return "The chat template nests too deeply."
    if isinstance(error, SecurityError):
        return f"The chat template did something it may not do: {str(error)[:200]}"
    return f"The chat template failed: {type(error).__name__}: {str(error)[:200]}"


def _raise_exception(message: object) -> NoReturn:
    raise TemplateRefusal(str(message)[:500])


def _strftime_now(form: str) -> str:
    if len(form) > 100:
        raise SecurityError("strftime_now with a long format")
    return datetime.now().astimezone().strftime(form)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Unlike Jinja's own filter, this escapes nothing for HTML."""
    if isinstance(indent, int) and indent > 16:
        raise SecurityError("tojson with a wide indent")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _bound_product(left: Any, right: Any) -> None:
    for text, times in ((left, right), (right, left)):
        if isinstance(text, str | list | tuple | bytes) and isinstance(times, int) and len(text) * times > MAX_LENGTH:
            raise SecurityError("a repetition that is too long")
    _bound_number(left, right)


def _bound_number(left: Any, right: Any) -> None:
    if any(isinstance(number, int) and abs(number) > MAX_NUMBER for number in (left, right)):
        raise SecurityError("a number that is too large")


def _bound_power(left: Any, right: Any) -> None:
    _bound_number(left, right)
    if isinstance(right, int) and right > 64:
        raise SecurityError("a power that is too large")


def _bound_percent(left: Any, right: Any) -> None:
    if isinstance(left, str | bytes) and len(left) + len(str(right)) > 10_000:
        raise SecurityError("% formatting of a long text")
    if isinstance(left, str) and _has_width(left):
        raise SecurityError("% formatting with a width")
    _bound_number(left, right)


def _bound_sum(left: Any, right: Any) -> None:
    sized = isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple)
    if sized and len(left) + len(right) > 16 * MAX_LENGTH:
        raise SecurityError("a text that is too long")


_BOUNDS: dict[str, Callable[[Any, Any], None]] = {
    "*": _bound_product,
    "**": _bound_power,
    "%": _bound_percent,
    "+": _bound_sum,
}


def _has_width(form: str) -> bool:
    """Whether a format has a width or precision of three digits or more, or one that is an argument (`*`)."""
    digits = 0
    for character in form:
        digits = digits + 1 if character.isdigit() else 0
        if digits >= 3 or (character == "*" and "%" in form):
            return True
    return False


def _bound_string_method(owner: str, name: str, args: tuple[Any, ...]) -> None:
    if name in WIDENING and any(isinstance(width, int) and width > MAX_LENGTH for width in args):
        raise SecurityError(f"{name} with a huge width")
    if name in {"format", "format_map"} and _has_width(owner):
        raise SecurityError("format with a width")
    if name == "replace" and len(args) >= 2 and (len(owner) + 1) * len(str(args[1])) > 16 * MAX_LENGTH:
        raise SecurityError("a replacement that is too long")
    if name == "join" and len(owner) > MAX_LENGTH:
        raise SecurityError("a separator that is too long")


def _bounded_filter(inner: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(value: Any, *args: Any, **options: Any) -> Any:
        for given in (*args, *options.values()):
            if isinstance(given, int) and abs(given) > MAX_LENGTH:
                raise SecurityError("a filter with a huge width")
        if isinstance(value, str) and inner.__name__ == "do_format" and _has_width(value):
            raise SecurityError("format with a width")
        return inner(value, *args, **options)

    bounded.__dict__.update(inner.__dict__)  # Jinja marks what a filter wants passed (environment, context)
    return bounded
