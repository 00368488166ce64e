"""Turns as the chunks of OpenAI's chat stream, and replies as its whole answer."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from ..chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from ..types import TokenLogprob, Usage
from .conversation import Finish, Reply, Turn
from .generation import Stamp
from .schemas.chat_answer import (
    AssistantMessage,
    CallBody,
    CallDelta,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    FunctionDelta,
    LogprobsBody,
)
from .schemas.common import Timings, UsageBody
from .sse import TextEvents, encode
from .usage import total


class Chunks:
    """The chunks of one continuation: the role, then what is said, then the finish without content."""

    def __init__(self, stamp: Stamp, index: int) -> None:
        self._stamp = stamp
        self._index = index
        self._begun = False
        self._texts = TextEvents(lambda text: self._chunk(ChatDelta(content=text)))

    def encode(self, turn: Turn) -> Iterator[bytes]:
        """The events of a turn. Log-probabilities go with the first of them."""
        if not self._begun:
            self._begun = True
            yield encode(self._chunk(ChatDelta(role="assistant")))
        logprobs = turn.logprobs
        for event in turn.events:
            if isinstance(event, Text) and not logprobs:
                yield self._texts.encode(event.text)
            else:
                yield encode(self._chunk(_delta(event), logprobs))
            logprobs = ()
        if turn.finish:
            chunk = self._chunk(ChatDelta(), logprobs, turn.finish)
            if turn.usage:
                chunk.timings = Timings.of(turn.usage)
            yield encode(chunk)
        elif logprobs:
            yield encode(self._chunk(ChatDelta(), logprobs))

    def _chunk(
        self, delta: ChatDelta, logprobs: tuple[TokenLogprob, ...] = (), finish: Finish | None = None
    ) -> ChatChunk:
        scored = LogprobsBody.of(logprobs) if logprobs else None
        return event(
            self._stamp, [ChatChunkChoice(index=self._index, delta=delta, logprobs=scored, finish_reason=finish)]
        )


def _delta(said: ChatEvent) -> ChatDelta:
    match said:
        case Text(text):
            return ChatDelta(content=text)
        case Reasoning(text):
            return ChatDelta(reasoning_content=text)
        case CallBegun(index, call_id, name):
            function = FunctionDelta(name=name, arguments="")
            return ChatDelta(tool_calls=[CallDelta(index=index, id=call_id, type="function", function=function)])
        case CallArguments(index, text):
            return ChatDelta(tool_calls=[CallDelta(index=index, function=FunctionDelta(arguments=text))])


def event(stamp: Stamp, choices: list[ChatChunkChoice], usage: UsageBody | None = None) -> ChatChunk:
    chunk = ChatChunk(
        **stamp.fields,
        object="chat.completion.chunk",
        choices=choices,
    )
    if usage is not None:
        chunk.usage = usage
    return chunk


async def events(stamp: Stamp, turns: AsyncGenerator[Turn], *, n: int, include_usage: bool) -> AsyncGenerator[bytes]:
    """The stream of n continuations as they come, then the usage if asked for."""
    chunks = [Chunks(stamp, index) for index in range(n)]
    usages: dict[int, Usage] = {}
    async with aclosing(turns):
        async for turn in turns:
            for encoded in chunks[turn.index].encode(turn):
                yield encoded
            if turn.usage:
                usages[turn.index] = turn.usage
    if include_usage:
        yield encode(event(stamp, [], UsageBody.of(total([usages[index] for index in sorted(usages)]))))


def completion(stamp: Stamp, replies: list[Reply], *, logprobs: bool) -> ChatCompletion:
    """The whole answer."""
    usage = total([reply.usage for reply in replies])
    return ChatCompletion(
        **stamp.fields,
        choices=[_choice(index, reply, logprobs=logprobs) for index, reply in enumerate(replies)],
        usage=UsageBody.of(usage),
        timings=Timings.of(usage),
    )


def _choice(index: int, reply: Reply, *, logprobs: bool) -> ChatChoice:
    message = AssistantMessage(
        content=reply.text if reply.text or not reply.calls else None,
        reasoning_content=reply.reasoning or None,
        tool_calls=[CallBody.of(call) for call in reply.calls] or None,
    )
    scored = LogprobsBody.of(reply.logprobs) if logprobs else None
    return ChatChoice(index=index, message=message, logprobs=scored, finish_reason=reply.finish)
