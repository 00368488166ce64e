"""/v1/responses: make a response, ask for it again, stop it, forget it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ...errors import InvalidValue, UnsupportedField
from ..cancel import while_connected
from ..converse import converse
from ..documents import event_stream
from ..generation import Stamp, Wait
from ..prompting import count_prompt
from ..responses.exchange import DIALECT, stream, whole
from ..responses.intake import conversation_of, exchange_of, items_of
from ..schemas.responses import CountRequest, ResponsesRequest
from ..schemas.responses_answer import Deleted, ItemList, ResponseBody, TokenCount
from ..schemas.responses_items import Item, new_id
from ..services import Collaborators, Services
from ..sse import EventStream

router = APIRouter(tags=["responses"])

STREAM = event_stream("The response; with `stream: true` server-sent events, the last of which says how it ended.")


@router.post("/v1/responses", response_model=ResponseBody, responses={200: STREAM})
async def create_response(
    body: ResponsesRequest, http: Request, services: Collaborators, wait: Wait
) -> Response | ResponseBody:
    """Answer items: whole, as a stream of events, or in the background."""
    body.refuse_unsupported()
    if body.background:
        services.background.admit()
    stamp = Stamp.new("resp", services, body.model)
    stamp.id = new_id("resp")
    exchange = exchange_of(services, body, stamp)
    turns = converse(services, exchange.conversation, stamp, wait)
    if body.background:
        return services.background.start(exchange, turns)
    if body.stream:
        return EventStream(stream(exchange, turns, services.responses), DIALECT)
    return await while_connected(http.receive, whole(exchange, turns, services.responses))


@router.post("/v1/responses/input_tokens")
async def count_input_tokens(body: CountRequest, http: Request, services: Collaborators, wait: Wait) -> TokenCount:
    """How many tokens the prompt of such a request has. Loads the model, and generates nothing."""
    body.refuse_unsupported()
    conversation = conversation_of(body, items_of(services, body))
    return TokenCount(input_tokens=await while_connected(http.receive, count_prompt(services, conversation, wait)))


@router.get("/v1/responses/{response_id}", response_model=ResponseBody)
async def retrieve_response(response_id: str, services: Collaborators, stream: bool = False) -> Response | ResponseBody:
    """A stored response, or one that is being made in the background, as it is now."""
    if stream:
        raise UnsupportedField("stream: a stored response is not streamed again; ask for it whole.", param="stream")
    return _current(services, response_id)


@router.delete("/v1/responses/{response_id}")
async def delete_response(response_id: str, services: Collaborators) -> Deleted:
    """Forget a response. One that is being made is stopped first."""
    await services.background.cancel(response_id)
    services.responses.drop(response_id)
    return Deleted(id=response_id)


@router.post("/v1/responses/{response_id}/cancel", response_model=ResponseBody)
async def cancel_response(response_id: str, services: Collaborators) -> Response | ResponseBody:
    """Stop a response that is made in the background. One that has ended is answered as it is."""
    await services.background.cancel(response_id)
    body = services.responses.get(response_id).body()
    if not body.background:
        raise InvalidValue(f"response_id: '{response_id}' is no background response.", param="response_id")
    return body


@router.get("/v1/responses/{response_id}/input_items")
async def list_input_items(
    response_id: str,
    services: Collaborators,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> ItemList:
    """The items that a response was made from, those of earlier responses too; newest first unless asked otherwise."""
    running = services.background.find(response_id)
    items = list(running.exchange.items if running else services.responses.get(response_id).given())
    if order == "desc":
        items.reverse()
    start = _behind(items, after)
    page = items[start : start + limit]
    first, last = (page[0].id, page[-1].id) if page else ("", "")
    return ItemList(data=page, first_id=first, last_id=last, has_more=start + limit < len(items))


def _current(services: Services, response_id: str) -> Response | ResponseBody:
    running = services.background.find(response_id)
    if running:
        return running.writer.response
    return Response(services.responses.get(response_id).response, media_type="application/json")


def _behind(items: list[Item], after: str | None) -> int:
    if after is None:
        return 0
    for place, item in enumerate(items):
        if item.id == after:
            return place + 1
    raise InvalidValue(f"after: there is no item '{after[:80]}' in this list.", param="after")
