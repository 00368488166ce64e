"""Durations and sizes as people write them: '5m', '1h30m', '2GB'. A bare number is seconds, or bytes."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_STEP = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
# A letter alone counts in 1024s, as in Docker and systemd; with B it is what disks and memory are sold by.
_SIZE = re.compile(r"(\d{1,20}(?:\.\d+)?)\s*([kmgt])(i?b)?", re.IGNORECASE)
_POWERS = "kmgt"


def seconds_of(value: object) -> float:
    """Seconds of a number or of text like '5m'. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value)
    text = str(value).strip().lower()
    sign = -1 if text.startswith("-") else 1
    if _DURATION.fullmatch(text.removeprefix("-")):
        return _finite(sign * sum(float(number) * _SECONDS[unit] for number, unit in _STEP.findall(text)))
    try:
        return _finite(text)
    except ValueError:
        raise ValueError("is not a duration; write seconds, or like '90s', '5m', '1h30m'") from None


def bytes_of(value: object) -> int:
    """Bytes of a whole number or of text like '2GB' (10^9 each), '2GiB' or '2G' (2^30 each). Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if found := _SIZE.fullmatch(text):
        number, letter, unit = found.groups()
        base = 1000 if (unit or "").lower() == "b" else 1024
        return round(float(number) * math.pow(base, _POWERS.index(letter.lower()) + 1))
    try:
        return int(text.removesuffix("B"))
    except ValueError:
        raise ValueError("is not a size; write bytes, or like '512MB', '2GB', '2GiB'") from None


def _finite(value: float | str) -> float:
    """Numbers of 309 digits and more are none of time, and JSON has them."""
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError("is not a duration: it never ends")
    return seconds


Seconds = Annotated[float, BeforeValidator(seconds_of)]
WholeSeconds = Annotated[int, BeforeValidator(seconds_of)]
Bytes = Annotated[int, BeforeValidator(bytes_of)]
