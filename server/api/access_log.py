"""A line in the log for each request, and another for one that was slow. Prompts are in it only if asked for."""

import logging

from ..settings import Settings
from ..types import Request
from .accounting import OTHER, Account
from .gate import METRICS, OPEN

log = logging.getLogger("server.access")
prompts = logging.getLogger("server.prompts")

# A monitor asks these every few seconds; their lines would be most of the log.
QUIET = OPEN | {METRICS}
LONGEST_PROMPT = 2_000
LONGEST_PATH = 200


def write(account: Account, settings: Settings) -> None:
    """Write what a request was and what it took. Its URL is told as the pattern of its route, since what stands in it
    may be more than a log should know. Only where it came to none, as when it is refused, it is told without its query.
    """
    quiet = account.route in QUIET and account.status < 400
    log.log(logging.DEBUG if quiet else logging.INFO, "%s", summary(account), extra=fields(account))
    if account.seconds > settings.slow_seconds:
        log.warning("slow: %s", summary(account), extra={**fields(account), "slow": True})


def write_prompt(request: Request, settings: Settings) -> None:
    """Write what a model is asked, if the settings want that: text, or token ids, which are as good as text."""
    if settings.log_prompts:
        text = str(request.prompt)
        cut = f"{text[:LONGEST_PROMPT]}… ({len(text)} characters)" if len(text) > LONGEST_PROMPT else text
        prompts.info("prompt: %s", cut)


def fields(account: Account) -> dict[str, object]:
    """What JSON lines have besides the message. What a request never came to is absent."""
    found: dict[str, object | None] = {
        "request_id": account.id,
        "method": account.method,
        "route": account.route,
        "path": _path(account),
        "key": account.key or None,
        "status": account.status,
        "error": account.error,
        "model": account.model or None,
        "seconds": round(account.seconds, 4),
        "queue_seconds": _rounded(account.queue_seconds),
        "first_token_seconds": _rounded(account.first_token_seconds),
    }
    if account.model:
        found |= {
            "prompt_tokens": account.prompt_tokens,
            "cached_tokens": account.cached_tokens,
            "completion_tokens": account.completion_tokens,
        }
    return {name: value for name, value in found.items() if value is not None}


def summary(account: Account) -> str:
    """`POST /v1/chat/completions 200 smollm2 12+34 tokens, queue 0.001 s, first 0.012 s, total 0.210 s`"""
    words = [account.method, _path(account) or account.route, str(account.status), account.error or "", account.model]
    parts = [" ".join(word for word in words if word)]
    if account.model:
        parts[0] += f" {account.prompt_tokens}+{account.completion_tokens} tokens"
    for name, seconds in (("queue", account.queue_seconds), ("first", account.first_token_seconds)):
        if seconds is not None:
            parts.append(f"{name} {seconds:.3f} s")
    return ", ".join([*parts, f"total {account.seconds:.3f} s"])


def _path(account: Account) -> str | None:
    return account.path[:LONGEST_PATH] if account.route == OTHER else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
