"""What teaching took, and what came of it."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from .journal import Reply
from .order import Price

MILLION = 1e6


class Figures(msgspec.Struct, frozen=True):
    """Of one teacher in one role. `seconds` are its requests' together, which overlap; `cost` needs a price."""

    requests: int
    accepted: int
    rejected: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    tokens_per_second: float
    cost: float | None


class Report(msgspec.Struct, frozen=True):
    """`requests` are this run's; tokens, cost and `seconds` (by the clock) are of all runs that made this result."""

    prompts: int
    generated: int
    accepted: int
    examples: int
    requests: int
    runs: int
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    rejected: dict[str, int]
    unanswered: int
    """Requests of this run that failed to the end; the next run asks them again."""
    teachers: dict[str, Figures]
    """By `URL#MODEL`, with " (judge)" or " (inputs)" where that was its part."""
    prompts_sha256: str
    task: str
    order: dict[str, object]


def figures(replies: Iterable[Reply], accepted: int, rejected: Counter[str], price: Price | None) -> Figures:
    """Of replies each once: the same request is paid for once."""
    used = list({reply.key: reply for reply in replies}.values())
    asked, told = sum(r.prompt_tokens for r in used), sum(r.completion_tokens for r in used)
    seconds = sum(r.seconds for r in used)
    return Figures(
        len(used),
        accepted,
        dict(rejected.most_common()),
        asked,
        told,
        round(seconds, 3),
        round(told / seconds, 2) if seconds else 0.0,
        None if price is None else round((asked * price[0] + told * price[1]) / MILLION, 6),
    )


def clock(replies: Iterable[Reply], run: int, now: float) -> tuple[int, float]:
    """Runs that took part, and their seconds together; a killed run lasted until its last reply."""
    lasted: dict[int, float] = {}
    for reply in replies:
        lasted[reply.run] = max(lasted.get(reply.run, 0.0), reply.at)
    lasted[run] = now
    return len(lasted), round(sum(lasted.values()), 3)
