"""POST /v1/messages, POST /v1/messages/count_tokens: Anthropic's API. Its headers are not needed, and ignored."""

import secrets

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ..anthropic.answer import MessageBody, TokenCount
from ..anthropic.schemas import CountTokensRequest, MessagesRequest
from ..anthropic.writer import DIALECT, Writer, stream, whole
from ..cancel import while_connected
from ..documents import event_stream
from ..generation import Stamp, Wait
from ..prompting import count_prompt
from ..services import Collaborators
from ..sse import EventStream
from ..until_full import converse_until_full

router = APIRouter(tags=["anthropic"])

STREAM = event_stream("The message; with `stream: true` server-sent events that end with `message_stop`.")


@router.post("/v1/messages", response_model=MessageBody, responses={200: STREAM})
async def create_message(
    body: MessagesRequest, http: Request, services: Collaborators, wait: Wait
) -> Response | MessageBody:
    """Continue a conversation, whole or as a stream of events."""
    conversation = body.conversation()
    stamp = Stamp.new("msg", services, body.model)
    stamp.id = f"msg_{secrets.token_hex(12)}"
    writer = Writer(stamp.id, stamp.model, body.max_tokens, hides_thoughts=body.hides_thoughts)
    turns = converse_until_full(services, conversation, stamp, wait)
    if body.stream:
        return EventStream(stream(writer, turns), DIALECT)
    return await while_connected(http.receive, whole(writer, turns))


@router.post("/v1/messages/count_tokens")
async def count_message_tokens(
    body: CountTokensRequest, http: Request, services: Collaborators, wait: Wait
) -> TokenCount:
    """How many tokens the prompt of such a message has. Loads the model, and generates nothing."""
    count = await while_connected(http.receive, count_prompt(services, body.conversation(), wait))
    return TokenCount(input_tokens=count)
