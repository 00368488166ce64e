"""The one path of every chat-like endpoint: a conversation in, turns out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from .. import types
from ..chat.answer import AnswerParser
from ..errors import ContextLengthExceeded
from ..pool.resident import Resident
from .conversation import Conversation, Finish, Turn
from .generation import Stamp, deltas
from .prompting import Plan, plan
from .services import Services


async def converse(
    services: Services, conversation: Conversation, stamp: Stamp, wait: float | None
) -> AsyncGenerator[Turn]:
    """The answer as turns. Before the first one every error of the request is raised."""
    planned: list[Plan] = []

    async def prepare(resident: Resident) -> types.Request:
        stamp.served_by(resident.variant)
        planned.append(await plan(services, resident, conversation))
        return planned[0].request(stamp.id, conversation, resident.spec.sampling)

    parsers: dict[int, AnswerParser] = {}
    try:
        async with aclosing(deltas(services, conversation.model, wait, prepare)) as stream:
            async for delta in stream:
                parser = parsers.get(delta.index)
                if parser is None:
                    parser = parsers[delta.index] = planned[0].parser()
                yield _turn(delta, parser)
    except ContextLengthExceeded as error:
        # The worker knows no API, and names the field as most do.
        error.param = conversation.limit_field if error.param == "max_tokens" else error.param
        raise


def _turn(delta: types.Delta, parser: AnswerParser) -> Turn:
    events = parser.push(delta.text) if delta.text else []
    if delta.finish is None:
        return Turn(delta.index, events, delta.logprobs, tokens=delta.tokens)
    events = events + parser.finish()
    # A stop string may stand in a call. A client must not take what is left of it for a call to make.
    cut = delta.stop is not None and not parser.complete
    finish: Finish = "tool_calls" if parser.called and delta.finish == "stop" and not cut else delta.finish
    return Turn(delta.index, events, delta.logprobs, finish, delta.usage, delta.stop, delta.tokens)
