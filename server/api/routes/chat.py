"""POST /v1/chat/completions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from ... import types
from ...errors import TemplateFailed
from ...pool.resident import Resident
from ..cancel import while_connected
from ..documents import ERRORS, EVENT_STREAM
from ..generation import Answer, Stamp, allowed_wait, deltas, fold
from ..schemas.chat import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatRequest,
)
from ..schemas.common import UsageBody
from ..services import Collaborators, Services
from ..sse import EventStream, TextEvents, encode

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={200: EVENT_STREAM, **ERRORS})
async def create_chat_completion(
    body: ChatRequest, http: Request, services: Collaborators, prefer: Annotated[str | None, Header()] = None
) -> Response | ChatCompletion:
    """Continue a conversation, whole or as a stream of events."""
    body.refuse_unsupported()
    stamp = Stamp.new("chatcmpl", services, body.model)
    stream = generate(services, body, stamp, allowed_wait(prefer))
    if body.stream:
        return EventStream(events(stamp, stream, include_usage=body.wants_usage))
    return completion(stamp, await while_connected(http.receive, fold(stream)))


def generate(services: Services, body: ChatRequest, stamp: Stamp, wait: float | None) -> AsyncGenerator[types.Delta]:
    """The answer as a delta stream; also what `cupola run` prints."""

    async def prepare(resident: Resident) -> types.Request:
        stamp.served_by(resident.variant)
        prompt = await render(services, resident, body)
        params = body.sampling(resident.spec.sampling)
        return types.Request(stamp.id, prompt, params, cache_prompt=body.cache_prompt)

    return deltas(services, body.model, wait, prepare)


async def render(services: Services, resident: Resident, body: ChatRequest) -> str:
    """The conversation as the model's own template writes it."""
    ready = resident.ready
    if ready.chat_template is None:
        raise TemplateFailed(f"{resident.spec.name} has no chat template; use /v1/completions.", param="model")
    messages = [message.for_template() for message in body.messages]
    if resident.spec.system is not None and not any(message["role"] == "system" for message in messages):
        messages.insert(0, {"role": "system", "content": resident.spec.system})
    return await services.renderer.render(
        ready.chat_template, messages, bos_token=ready.bos_token, eos_token=ready.eos_token
    )


def completion(stamp: Stamp, answer: Answer) -> ChatCompletion:
    choice = ChatChoice(index=0, message=AssistantMessage(content=answer.text), finish_reason=answer.finish)
    return ChatCompletion(
        id=stamp.id,
        created=stamp.created,
        model=stamp.model,
        system_fingerprint=stamp.fingerprint,
        choices=[choice],
        usage=UsageBody.of(answer.usage),
    )


async def events(stamp: Stamp, stream: AsyncGenerator[types.Delta], *, include_usage: bool) -> AsyncGenerator[bytes]:
    """The stream as events: the role, then text that is never empty, then the finish, then the usage if asked for."""
    texts = TextEvents(lambda text: chunk(stamp, ChatDelta(content=text)))
    begun = False
    async with aclosing(stream):
        async for delta in stream:
            if not begun:
                yield encode(chunk(stamp, ChatDelta(role="assistant")))
                begun = True
            if delta.text:
                yield texts.encode(delta.text)
            if delta.finish:
                yield encode(chunk(stamp, ChatDelta(), delta.finish))
            if delta.usage and include_usage:
                yield encode(_event(stamp, [], UsageBody.of(delta.usage)))


def chunk(stamp: Stamp, delta: ChatDelta, finish: types.FinishReason | None = None) -> ChatChunk:
    return _event(stamp, [ChatChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish)])


def _event(stamp: Stamp, choices: list[ChatChunkChoice], usage: UsageBody | None = None) -> ChatChunk:
    event = ChatChunk(
        id=stamp.id,
        object="chat.completion.chunk",
        created=stamp.created,
        model=stamp.model,
        system_fingerprint=stamp.fingerprint,
        choices=choices,
    )
    if usage is not None:
        event.usage = usage
    return event
