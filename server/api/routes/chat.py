"""POST /v1/chat/completions."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from ..cancel import while_connected
from ..chat_events import completion, events
from ..conversation import fold_turns
from ..converse import converse
from ..documents import event_stream
from ..generation import Stamp, allowed_wait
from ..schemas.chat import ChatRequest
from ..schemas.chat_answer import ChatCompletion
from ..services import Collaborators
from ..sse import EventStream

router = APIRouter(tags=["chat"])

STREAM = event_stream(
    "The whole answer; with `stream: true` server-sent events that end with `[DONE]`.",
    "ChatChunk",
    "ErrorBody",
    named=False,
)


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={200: STREAM})
async def create_chat_completion(
    body: ChatRequest, http: Request, services: Collaborators, prefer: Annotated[str | None, Header()] = None
) -> Response | ChatCompletion:
    """Continue a conversation, whole or as a stream of events."""
    body.refuse_unsupported()
    conversation = body.conversation()
    stamp = Stamp.new("chatcmpl", services, body.model)
    turns = converse(services, conversation, stamp, allowed_wait(prefer))
    if body.stream:
        return EventStream(events(stamp, turns, n=conversation.n, include_usage=body.wants_usage))
    replies = await while_connected(http.receive, fold_turns(turns, conversation.n))
    return completion(stamp, replies, logprobs=bool(body.logprobs))
