"""POST /api/chat, POST /api/generate: Ollama's API, for what its clients make of a model."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ... import types
from ...chat.events import Text
from ...pool.resident import Resident
from ..accounting import asked_for
from ..cancel import while_connected
from ..conversation import Turn
from ..documents import lines as documented_lines
from ..generation import Stamp, Wait, deltas
from ..ollama.answer import DIALECT, Line, Lines, encode, in_message, in_response, stream, whole
from ..ollama.schemas import ChatRequest, GenerateRequest
from ..services import Collaborators, Services
from ..sse import EventStream
from ..until_full import converse_until_full, until_full, without_limit

router = APIRouter(tags=["ollama"])

LINES: dict[int | str, dict[str, Any]] = {
    200: documented_lines(
        "Lines of JSON, the last with `done: true`; with `stream: false` one object.",
        "model",
        "created_at",
        "done",
    )
}


@router.post("/api/chat", response_model=dict[str, Any], responses=LINES)
async def chat(body: ChatRequest, http: Request, services: Collaborators, wait: Wait) -> Response | Line:
    """Continue a conversation; without messages load the model."""
    body.refuse_unsupported()
    services.pool.keep(body.model, body.keep_alive)
    lines = Lines(body.model, in_message)
    if not body.messages:
        return await _load(services, body, http, lines, wait)
    conversation = body.conversation()
    stamp = Stamp.new("ollama", services, body.model)
    turns = converse_until_full(services, conversation, stamp, wait)
    return await _answer(body, http, lines, turns)


@router.post("/api/generate", response_model=dict[str, Any], responses=LINES)
async def generate(body: GenerateRequest, http: Request, services: Collaborators, wait: Wait) -> Response | Line:
    """Answer a prompt, or with `raw` continue it; without one load the model."""
    body.refuse_unsupported()
    services.pool.keep(body.model, body.keep_alive)
    lines = Lines(body.model, in_response)
    if not body.prompt:
        return await _load(services, body, http, lines, wait)
    stamp = Stamp.new("ollama", services, body.model)
    if body.raw:
        turns = until_full(lambda full: _continued(services, body, stamp, wait, full=full))
    else:
        conversation = body.conversation()
        turns = converse_until_full(services, conversation, stamp, wait)
    return await _answer(body, http, lines, turns)


async def _answer(
    body: ChatRequest | GenerateRequest, http: Request, lines: Lines, turns: AsyncGenerator[Turn]
) -> Response | Line:
    if body.stream is not False:
        return EventStream(stream(lines, turns), DIALECT)
    return await while_connected(http.receive, whole(lines, turns))


async def _load(
    services: Services, body: ChatRequest | GenerateRequest, http: Request, lines: Lines, wait: float | None
) -> Response | Line:
    asked_for(services.registry, body.model)

    async def load() -> Line:
        if body.unloads:
            await services.pool.unload(body.model)
            return lines.unloaded()
        async with services.pool.lease(body.model, wait):
            return lines.loaded()

    line = await while_connected(http.receive, load())
    return Response(encode(line), media_type=DIALECT.media_type) if body.stream is not False else line


async def _continued(
    services: Services, body: GenerateRequest, stamp: Stamp, wait: float | None, *, full: bool
) -> AsyncGenerator[Turn]:
    """A raw prompt, continued as it stands: no template, and nothing but text in the answer."""
    sampling = without_limit(body.sampled.sampling) if full else body.sampled.sampling

    async def prepare(resident: Resident) -> types.Request:
        stamp.served_by(resident.variant)
        params = sampling(resident.spec.sampling)
        return types.Request(stamp.id, body.prompt or "", params, logprobs=body.scored, grammar=body.grammar)

    async with aclosing(deltas(services, body.model, wait, prepare)) as found:
        async for delta in found:
            said = [Text(delta.text)] if delta.text else []
            yield Turn(delta.index, [*said], delta.logprobs, delta.finish, delta.usage, delta.stop, delta.tokens)
