"""Answers that may end with the context instead of with their limit, as Anthropic's and Ollama's clients expect."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

import msgspec

from ..errors import ContextLengthExceeded
from ..models.spec import Sampling
from ..types import SamplingParams
from .conversation import Conversation, Turn
from .converse import converse
from .generation import Stamp
from .services import Services

Attempt = Callable[[bool], AsyncGenerator[Turn]]
MakeParams = Callable[[Sampling], SamplingParams]


async def until_full(attempt: Attempt) -> AsyncGenerator[Turn]:
    """The turns of `attempt(False)`; where its limit of tokens does not fit behind the prompt, of `attempt(True)`,
    which has none. A prompt that does not fit stays an error. Errors come before the first turn, so nothing is said
    twice."""
    try:
        async with aclosing(attempt(False)) as turns:
            async for turn in turns:
                yield turn
            return
    except ContextLengthExceeded as error:
        if error.param is None:  # it names a field where that one asks for too much
            raise
    async with aclosing(attempt(True)) as turns:
        async for turn in turns:
            yield turn


def converse_until_full(
    services: Services, conversation: Conversation, stamp: Stamp, wait: float | None
) -> AsyncGenerator[Turn]:
    """`converse`, with a limit that may be more than the context has left."""
    unlimited = replace(conversation, sampling=without_limit(conversation.sampling))
    return until_full(lambda full: converse(services, unlimited if full else conversation, stamp, wait))


def without_limit(sampling: MakeParams) -> MakeParams:
    """The same sampling, until the context is full."""
    return lambda advised: msgspec.structs.replace(sampling(advised), max_tokens=None)
