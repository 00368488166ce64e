"""Personal data and secrets in texts: found by patterns and, where there is one, by a checksum.

A scan, not a promise: names and addresses of people have no pattern.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from ..examples import Example

_HINT = re.compile(r"[\d@]|PRIVATE KEY")  # without one of these nothing below can match
IBAN_LENGTHS = range(15, 35)
CARD_LENGTHS = range(13, 20)
PHONE_LENGTHS = range(8, 16)
"""Digits: E.164 has 15 at most; shorter ones are mostly no phone numbers."""


def luhn(text: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in text if digit.isdecimal()]
    if len(digits) not in CARD_LENGTHS or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """The checksum of ISO 13616: the first four characters go to the end, A is 10; the number modulo 97 is 1."""
    plain = text.replace(" ", "").upper()
    if len(plain) not in IBAN_LENGTHS:
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_loopback)


def _phone(text: str) -> bool:
    return sum(letter.isdecimal() for letter in text) in PHONE_LENGTHS


def _any(text: str) -> bool:
    return bool(text)


# Each is bounded, or begins where no other word does: a line of a megabyte takes no longer than one.
_KEYS = "|".join((
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=:,\s-]{0,8000}?-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
    r"\b(?:sk|pk|rk)[-_](?:[a-z]{1,20}[-_]){0,4}[A-Za-z0-9]{20,}\b",  # OpenAI, Anthropic, Stripe
    r"\bAKIA[0-9A-Z]{16}\b",  # AWS
    r"\bgh[pousr]_[A-Za-z0-9]{36,}\b",
    r"\bhf_[A-Za-z0-9]{30,}\b",
    r"(?<![\w-])xox[abprs]-[A-Za-z0-9-]{10,}\b",
    r"\bAIza[\w-]{35}\b",
    r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",  # a JSON web token
))  # fmt: skip
_OCTETS = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
_GROUPS = r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"
_PHONES = "|".join((  # none of them a part of a longer row of numbers
    r"(?<![\w.+])(?<!\d )(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){6,14}(?!\w)(?! \d)",  # with the code of a country
    r"(?<![\w.+])(?<!\d )\(?0\d{1,5}\)?[ /-](?:\d[ -]?){4,11}(?<=\d)(?!\w)(?! \d)",  # 030 1234567, (030) 12 34 56 7
    r"(?<![\w.+-])(?<!\d )\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[ .-]\d{4}(?![\w-])",  # (555) 234-5678
))  # fmt: skip
PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("key", re.compile(_KEYS), _any),
    ("email", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"), _any),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), iban),
    ("card", re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"), luhn),
    ("ip", re.compile(f"{_OCTETS}|{_GROUPS}"), _address),
    ("phone", re.compile(_PHONES), _phone),
)
"""In this order: what one pattern took is not seen by the next."""


def redacted(text: str, found: Counter[str]) -> str:
    """The text with [EMAIL] and the like in place of what was found, which is counted."""
    if not _HINT.search(text):
        return text
    for name, pattern, holds in PATTERNS:
        text = pattern.sub(partial(_replace, name=name, holds=holds, found=found), text)
    return text


def _replace(match: re.Match[str], name: str, holds: Callable[[str], bool], found: Counter[str]) -> str:
    if not holds(match[0]):
        return match[0]
    found[name] += 1
    return f"[{name.upper()}]"


def scanned(example: Example, *, redact: bool) -> tuple[Example, Counter[str]]:
    """What is in an example, and, when asked for, the example without it."""
    found: Counter[str] = Counter()
    turns = tuple(msgspec.structs.replace(turn, content=redacted(turn.content, found)) for turn in example.messages)
    text = redacted(example.text, found)
    meta = _inside(example.meta, found)
    if redact and found:
        return msgspec.structs.replace(example, messages=turns, text=text, meta=meta), found
    return example, found


def _inside(value: Any, found: Counter[str]) -> Any:
    """Texts at any depth."""
    if isinstance(value, str):
        return redacted(value, found)
    if isinstance(value, dict):
        return {name: _inside(item, found) for name, item in value.items()}
    return [_inside(item, found) for item in value] if isinstance(value, list) else value
