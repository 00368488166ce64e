"""POST /v1/completions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from ... import types
from ...pool.resident import Resident
from ..cancel import while_connected
from ..documents import ERRORS, EVENT_STREAM
from ..generation import Stamp, allowed_wait, deltas, fold
from ..schemas.common import UsageBody
from ..schemas.completions import Completion, CompletionChoice, CompletionRequest
from ..services import Collaborators
from ..sse import EventStream, TextEvents, encode

router = APIRouter(tags=["completions"])


@router.post("/v1/completions", response_model=Completion, responses={200: EVENT_STREAM, **ERRORS})
async def create_completion(
    body: CompletionRequest, http: Request, services: Collaborators, prefer: Annotated[str | None, Header()] = None
) -> Response | Completion:
    """Continue a text, whole or as a stream of events."""
    body.refuse_unsupported()
    stamp = Stamp.new("cmpl", services, body.model)

    async def prepare(resident: Resident) -> types.Request:
        stamp.served_by(resident.variant)
        params = body.sampling(resident.spec.sampling)
        return types.Request(stamp.id, body.single_prompt, params, cache_prompt=body.cache_prompt)

    stream = deltas(services, body.model, allowed_wait(prefer), prepare)
    if body.stream:
        return EventStream(events(stamp, stream, include_usage=body.wants_usage))
    answer = await while_connected(http.receive, fold(stream))
    return completion(stamp, [_choice(answer.text, answer.finish)], UsageBody.of(answer.usage))


async def events(stamp: Stamp, stream: AsyncGenerator[types.Delta], *, include_usage: bool) -> AsyncGenerator[bytes]:
    """The stream as events: text, the finish, then the usage if asked for."""
    texts = TextEvents(lambda text: completion(stamp, [_choice(text)]))
    async with aclosing(stream):
        async for delta in stream:
            if delta.finish:
                yield encode(completion(stamp, [_choice(delta.text, delta.finish)]))
            elif delta.text:
                yield texts.encode(delta.text)
            if delta.usage and include_usage:
                yield encode(completion(stamp, [], UsageBody.of(delta.usage)))


def _choice(text: str, finish: types.FinishReason | None = None) -> CompletionChoice:
    return CompletionChoice(index=0, text=text, logprobs=None, finish_reason=finish)


def completion(stamp: Stamp, choices: list[CompletionChoice], usage: UsageBody | None = None) -> Completion:
    body = Completion(
        id=stamp.id,
        object="text_completion",
        created=stamp.created,
        model=stamp.model,
        system_fingerprint=stamp.fingerprint,
        choices=choices,
    )
    if usage is not None:
        body.usage = usage
    return body
