"""POST /v1/completions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ... import types
from ...pool.resident import Resident
from ..cancel import while_connected
from ..completing import Telling, chosen, fold_all, requests_of
from ..documents import openai_stream
from ..generation import Stamp, Wait, batch
from ..schemas.common import Timings, UsageBody
from ..schemas.completions import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
from ..services import Collaborators
from ..sse import EventStream, TextEvents, encode
from ..usage import total

router = APIRouter(tags=["completions"])


@router.post("/v1/completions", response_model=Completion, responses={200: openai_stream("Completion")})
async def create_completion(
    body: CompletionRequest, http: Request, services: Collaborators, wait: Wait
) -> Response | Completion:
    """Continue one or several texts, whole or as a stream of events."""
    body.refuse_unsupported()
    body.refuse_incoherent()
    services.pool.keep(body.model, body.keep_alive)
    stamp = Stamp.new("cmpl", services, body.model)
    telling = Telling(body)

    async def prepare(resident: Resident) -> list[types.Request]:
        stamp.served_by(resident.variant)
        await telling.prepare(resident)
        return await requests_of(body, resident, stamp.id)

    stream = batch(services, body.model, wait, prepare)
    if body.stream:
        return EventStream(events(stamp, stream, telling, body))
    count = len(body.prompts) * body.candidates
    found = await while_connected(http.receive, fold_all(stream, telling, count))
    choices = [_choice(index, told.text, told.logprobs, told.finish) for index, told in enumerate(chosen(found, body))]
    usage = total([told.usage for told in found], body.candidates)
    # Prompts of a batch run partly beside each other: no time is that of all, so no pace is either.
    return completion(stamp, choices, usage, timed=len(body.prompts) == 1)


async def events(
    stamp: Stamp, stream: AsyncGenerator[types.Delta], telling: Telling, body: CompletionRequest
) -> AsyncGenerator[bytes]:
    """The stream as events: what each choice gained, its finish, then the usage of all if asked for."""
    texts: dict[int, TextEvents] = {}
    usages: dict[int, types.Usage] = {}
    async with aclosing(stream):
        async for delta in stream:
            index = delta.index
            text, logprobs = telling.tell(delta)
            if delta.usage:
                usages[index] = delta.usage
            if delta.finish or (logprobs and logprobs.tokens):
                event = completion(stamp, [_choice(index, text, logprobs, delta.finish)])
                if delta.usage:
                    event.timings = Timings.of(delta.usage)
                yield encode(event)
            elif text:
                if index not in texts:
                    texts[index] = TextEvents(partial(_text_event, stamp, index))
                yield texts[index].encode(text)
    if body.wants_usage:
        whole = total([usages[index] for index in sorted(usages)], body.candidates)
        yield encode(completion(stamp, [], whole))


def _text_event(stamp: Stamp, index: int, text: str) -> Completion:
    return completion(stamp, [_choice(index, text)])


def _choice(
    index: int, text: str, logprobs: CompletionLogprobs | None = None, finish: types.FinishReason | None = None
) -> CompletionChoice:
    return CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=finish)


def completion(
    stamp: Stamp, choices: list[CompletionChoice], usage: types.Usage | None = None, *, timed: bool = False
) -> Completion:
    body = Completion(
        **stamp.fields,
        object="text_completion",
        choices=choices,
    )
    if usage is not None:
        body.usage = UsageBody.of(usage)
        if timed:
            body.timings = Timings.of(usage)
    return body
