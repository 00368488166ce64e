"""How large one operation of a template may get: pure rules over Python's own operators and methods.

A sandbox stops a template from reaching the interpreter; it does not stop `'a' * 10**9`. The operations that turn small
input into large output are refused here before they run, so that most bombs fail at once and the same way on every
system. What slips through ends at the render process's memory limit (Linux only) or at its deadline.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from typing import Any

from jinja2.exceptions import SecurityError

LONGEST_TEXT = 8 << 20  # twice the largest request body: no honest text of a conversation is longer
MOST_ITEMS = 1 << 20
MOST_BITS = 256  # of an integer
LONGEST_FORMAT = 10_000
# A width or precision of four digits or more, or one that is an argument.
_WIDE_PERCENT = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(?:\*|\d{4,}|\d*\.(?:\*|\d{4,}))")
_WIDE_SPEC = re.compile(r"\d{4,}|\{")

SIZED = (str, bytes, list, tuple)


def check_length(length: int, of: object) -> None:
    """Refuse a text or a list of this length."""
    if length > (LONGEST_TEXT if isinstance(of, str | bytes) else MOST_ITEMS):
        raise SecurityError(f"it would make a {type(of).__name__} of length {length}")


def check_sum(left: object, right: object) -> None:
    if isinstance(left, SIZED) and isinstance(right, SIZED):
        check_length(len(left) + len(right), left)


def check_product(left: object, right: object) -> None:
    for sized, times in ((left, right), (right, left)):
        if isinstance(sized, SIZED) and isinstance(times, int):
            check_length(len(sized) * times, sized)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def check_power(base: object, exponent: object) -> None:
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * exponent)


def check_percent(form: object, values: object) -> None:
    """`%`, where the left side is a text to be formatted."""
    if not isinstance(form, str | bytes):
        return
    text = form if isinstance(form, str) else form.decode("latin-1")
    _check_format(text, text.count("%"), values if isinstance(values, tuple | Mapping) else (values,))
    if _WIDE_PERCENT.search(text):
        raise SecurityError("it formats to a large width")


def check_join(separator: object, items: object) -> None:
    if isinstance(separator, str | bytes) and isinstance(items, list | tuple):
        texts = sum(len(item) for item in items if isinstance(item, str | bytes))
        check_length(texts + len(separator) * len(items), separator)


def check_replace(text: object, old: object, new: object) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        check_length(len(text) + text.count(old) * len(new), text)


def check_method(owner: object, name: str, arguments: list[Any]) -> None:
    """A call of a method of a built-in value. The order of the arguments is that of the method."""
    if check := _METHODS.get(name):
        check(owner, arguments)


def check_numbers(arguments: Iterable[object]) -> None:
    """Widths and counts that a padding method or filter is given."""
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > MOST_ITEMS:
            raise SecurityError(f"it asks for a width of more than {MOST_ITEMS}")


def _check_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise SecurityError(f"it would make a number of {bits} bits")


def _check_format(form: str, fields: int, values: Iterable[object]) -> None:
    given = values.values() if isinstance(values, Mapping) else values
    if len(form) > LONGEST_FORMAT:
        raise SecurityError("it formats by a very long pattern")
    check_length(fields * max((len(value) for value in given if isinstance(value, SIZED)), default=0), form)


def _check_str_format(owner: object, arguments: list[Any]) -> None:
    if not isinstance(owner, str):
        return
    # format_map has its values one level deeper
    values = [inner for given in arguments for inner in (given.values() if isinstance(given, dict) else (given,))]
    _check_format(owner, owner.count("{"), values)
    if any(spec and _WIDE_SPEC.search(spec) for _, _, spec, _ in Formatter().parse(owner)):
        raise SecurityError("it formats to a large width")


def _check_expandtabs(owner: object, arguments: list[Any]) -> None:
    if isinstance(owner, str) and arguments and isinstance(arguments[0], int):
        check_length(len(owner) + owner.count("\t") * arguments[0], owner)


def _check_translate(owner: object, arguments: list[Any]) -> None:
    if isinstance(owner, str) and arguments and isinstance(arguments[0], dict):
        longest = max((len(text) for text in arguments[0].values() if isinstance(text, str)), default=1)
        check_length(len(owner) * longest, owner)


def _check_str_replace(owner: object, arguments: list[Any]) -> None:
    if len(arguments) >= 2:
        check_replace(owner, arguments[0], arguments[1])


def _check_str_join(owner: object, arguments: list[Any]) -> None:
    if arguments:
        check_join(owner, arguments[0])


def _check_width(_: object, arguments: list[Any]) -> None:
    check_numbers(arguments)


_METHODS: Mapping[str, Callable[[object, list[Any]], None]] = {
    "center": _check_width,
    "expandtabs": _check_expandtabs,
    "format": _check_str_format,
    "format_map": _check_str_format,
    "join": _check_str_join,
    "ljust": _check_width,
    "replace": _check_str_replace,
    "rjust": _check_width,
    "to_bytes": _check_width,
    "translate": _check_translate,
    "zfill": _check_width,
}
