"""From a request of the Responses API to an exchange: references resolved, history put before it, defaults filled."""

from typing import Any

from ...errors import InvalidValue
from ..conversation import Conversation
from ..generation import Stamp
from ..schemas.responses import CountRequest, FlatAllowed, FlatNamed, ResponsesRequest
from ..schemas.responses_answer import ReasoningEcho, ResponseBody
from ..schemas.responses_items import Item, ItemReference
from ..services import Services
from .exchange import Exchange
from .history import messages_of


def items_of(services: Services, body: CountRequest) -> list[Item]:
    """All items of a request: those of the response it goes on from, then its own. Raises NotFound."""
    store = services.responses
    own = [store.item(item.id) if isinstance(item, ItemReference) else item for item in body.input]
    previous = body.previous_response_id
    if previous is None:
        return own
    if services.background.find(previous):
        raise InvalidValue(f"previous_response_id: '{previous}' has not ended yet.", param="previous_response_id")
    return [*store.get(previous, "previous_response_id").history(), *own]


def conversation_of(body: CountRequest, items: list[Item]) -> Conversation:
    """The request in the words of no API. Instructions are this request's own, never an earlier one's."""
    return Conversation(
        model=body.model,
        messages=messages_of(body.instructions, items),
        sampling=body.sampling,
        tools=body.functions.offered,
        choice=body.functions.policy,
        grammar=body.format.grammar(),
        logprobs=body.top,
        cache_prompt=body.cache_prompt,
        variables=body.chat_template_kwargs or {},
        reasoning_effort=body.effort,
        limit_field="max_output_tokens",
    )


def exchange_of(services: Services, body: ResponsesRequest, stamp: Stamp) -> Exchange:
    """The exchange that a request begins. Raises NotFound and InvalidValue."""
    items = items_of(services, body)
    return Exchange(conversation_of(body, items), items, len(body.input), _draft(services, body, stamp))


def _draft(services: Services, body: ResponsesRequest, stamp: Stamp) -> ResponseBody:
    """The response before its first word. What the request left out is as the model's makers advise."""
    spec, _ = services.pool.find(body.model)
    sampling = body.sampling(spec.sampling)
    return ResponseBody(
        id=stamp.id,
        created_at=stamp.created,
        status="queued",
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.token_limit,
        metadata=body.metadata or {},
        model=stamp.model,
        parallel_tool_calls=body.functions.policy.parallel,
        previous_response_id=body.previous_response_id,
        reasoning=ReasoningEcho(effort=body.effort),
        store=body.store is not False,
        temperature=sampling.temperature,
        text={"format": body.format.model_dump(exclude_none=True)},
        tool_choice=_choice(body),
        tools=[tool.echo() for tool in body.tools or ()],
        top_logprobs=body.top or 0,
        top_p=sampling.top_p,
        user=body.user,
    )


def _choice(body: ResponsesRequest) -> str | dict[str, Any]:
    match body.tool_choice:
        case FlatNamed() | FlatAllowed():
            return body.tool_choice.model_dump()
        case _:
            return body.tool_choice or "auto"
