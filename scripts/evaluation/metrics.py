"""How good an answer is: each metric is a function of the answer and the one wanted, in 0..1."""

import json
from collections.abc import Callable
from typing import Any

from server.errors import InvalidValue

Metric = Callable[[str, str], float]


def exact(answer: str, wanted: str) -> float:
    return float(answer == wanted)


def exact_spaces(answer: str, wanted: str) -> float:
    return float(answer.split() == wanted.split())


def exact_json(answer: str, wanted: str) -> float:
    """Equal when parsed; true and 1 are not."""
    left, right = parsed(answer), parsed(wanted)
    return float(left is not None and left == right)


def json_valid(answer: str, _wanted: str) -> float:
    return float(parsed(answer) is not None)


def parsed(text: str) -> str | None:
    """JSON in one canonical spelling; None where it is none (NaN and Infinity are none)."""
    try:
        return json.dumps(json.loads(text, parse_constant=_refuse), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> Any:
    raise ValueError(name)


METRICS: dict[str, Metric] = {
    "exact": exact,
    "exact_spaces": exact_spaces,
    "exact_json": exact_json,
    "json_valid": json_valid,
}


def chosen(names: tuple[str, ...]) -> dict[str, Metric]:
    """Raises InvalidValue."""
    for name in names:
        if name not in METRICS:
            raise InvalidValue(f"There is no metric '{name}'; there are {', '.join(METRICS)}.")
    return {name: METRICS[name] for name in names}
