"""What all continuations of a request took together. Pure."""

from ..types import Usage


def total(usages: list[Usage], candidates: int | None = None) -> Usage:
    """The sum. Continuations of one prompt, `candidates` each (None: there is one prompt), count it once; times are the
    longest ones."""
    firsts = usages[:: candidates or len(usages)]
    return Usage(
        sum(usage.prompt_tokens for usage in firsts),
        sum(usage.completion_tokens for usage in usages),
        sum(usage.cached_tokens for usage in firsts),
        max(usage.queue_seconds for usage in firsts),
        max(usage.prompt_seconds for usage in firsts),
        max(usage.decode_seconds for usage in usages),
    )
