"""POST /v1/chat/completions."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ..cancel import while_connected
from ..chat_events import completion, events
from ..conversation import fold_turns
from ..converse import converse
from ..documents import openai_stream
from ..generation import Stamp, Wait
from ..schemas.chat import ChatRequest
from ..schemas.chat_answer import ChatCompletion
from ..services import Collaborators
from ..sse import EventStream

router = APIRouter(tags=["chat"])


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={200: openai_stream("ChatChunk")})
async def create_chat_completion(
    body: ChatRequest, http: Request, services: Collaborators, wait: Wait
) -> Response | ChatCompletion:
    """Continue a conversation, whole or as a stream of events."""
    body.refuse_unsupported()
    conversation = body.conversation()
    services.pool.keep(body.model, body.keep_alive)
    stamp = Stamp.new("chatcmpl", services, body.model)
    turns = converse(services, conversation, stamp, wait)
    if body.stream:
        return EventStream(events(stamp, turns, n=conversation.n, include_usage=body.wants_usage))
    replies = await while_connected(http.receive, fold_turns(turns, conversation.n))
    return completion(stamp, replies, logprobs=bool(body.logprobs))
