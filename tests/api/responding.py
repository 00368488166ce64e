"""What tests of the Responses API share: drafts, hand-made turns, and a reader of events that trusts deltas only."""

import asyncio
import json
from collections.abc import AsyncGenerator
from copy import deepcopy
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from server.api.conversation import Finish, Turn
from server.api.responses.exchange import Exchange, stream
from server.api.responses.exchange import whole as answer
from server.api.responses.store import ResponseStore
from server.api.schemas.responses import ResponsesRequest
from server.api.schemas.responses_answer import ReasoningEcho, ResponseBody
from server.api.schemas.responses_items import Item, ItemReference
from server.chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from server.errors import CupolaError
from server.types import Likely, TokenLogprob, Usage

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = Usage(5, 7, 2)


def draft(**fields: Any) -> ResponseBody:
    given: dict[str, Any] = {
        "id": "resp_1",
        "created_at": 1,
        "status": "queued",
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "fake",
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": ReasoningEcho(effort=None),
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "user": None,
    }
    return ResponseBody(**given | fields)


def read(body: bytes | str) -> list[dict[str, Any]]:
    """The events of a stream. Each has every field that the official client's types require, and its number."""
    text = body.decode() if isinstance(body, bytes) else body
    assert text.endswith("\n\n")
    events: list[dict[str, Any]] = []
    for number, frame in enumerate(text[:-2].split("\n\n")):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        parsed = EVENT.validate_python(event)
        assert parsed.type == event["type"]
        assert f".{type(parsed).__module__.rsplit('.', 1)[-1]}".endswith("_event")
        events.append(event)
    return events


def whole(raw: dict[str, Any]) -> dict[str, Any]:
    """A response that has every field the official client's types require."""
    Response.model_validate(raw)
    return raw


def folded(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output items, from what was added and the deltas; checked against what each `done` says."""
    items: list[dict[str, Any]] = []
    for event in deepcopy(events):
        kind, place = event["type"].removeprefix("response."), event.get("output_index", -1)
        if kind == "output_item.added":
            assert place == len(items)
            assert all(item["status"] != "in_progress" for item in items), "one item is open at a time"
            items.append(event["item"])
        elif kind == "output_item.done":
            items[place]["status"] = event["item"]["status"]
            assert items[place] == event["item"]
        elif place >= 0:
            assert event["item_id"] == items[place]["id"]
            _fold_part(kind, event, items[place])
    return items


def _fold_part(kind: str, event: dict[str, Any], item: dict[str, Any]) -> None:
    match kind:
        case "content_part.added":
            assert event["content_index"] == len(item["content"])
            item["content"].append(event["part"])
        case "content_part.done":
            assert item["content"][event["content_index"]] == event["part"]
        case "output_text.delta":
            item["content"][0]["text"] += event["delta"]
            item["content"][0]["logprobs"] += event["logprobs"]
        case "reasoning_text.delta":
            item["content"][0]["text"] += event["delta"]
        case "output_text.done":
            assert item["content"][0]["text"] == event["text"]
            assert item["content"][0]["logprobs"] == event["logprobs"]
        case "reasoning_text.done":
            assert item["content"][0]["text"] == event["text"]
        case "function_call_arguments.delta":
            item["arguments"] += event["delta"]
        case "function_call_arguments.done":
            assert item["arguments"] == event["arguments"]
        case _:
            raise AssertionError(f"an event of an unknown kind: {kind}")


SCORED = (TokenLogprob(3, b"a", -0.5, (Likely(3, b"a", -0.5),)),)
WEATHER: list[ChatEvent] = [
    Reasoning("They ask for "),
    Reasoning("the weather."),
    Text("I look."),
    CallBegun(0, "call_1", "weather"),
    CallArguments(0, '{"city":'),
    CallArguments(0, '"Paris"}'),
    CallBegun(1, "call_2", "time"),
    CallArguments(1, "{}"),
]


async def told(turns: list[Turn], error: CupolaError | None = None) -> AsyncGenerator[Turn]:
    for turn in turns:
        yield turn
    if error is not None:
        raise error


def exchange(items: list[Item] | None = None, **fields: Any) -> Exchange:
    request = ResponsesRequest.model_validate({"model": "fake", "input": "Hello"})
    own = [item for item in request.input if not isinstance(item, ItemReference)]
    return Exchange(conversation=None, items=items or own, sent=1, draft=draft(**fields))  # type: ignore[arg-type]


def streamed(turns: list[Turn], error: CupolaError | None = None, store: ResponseStore | None = None) -> Any:
    async def run() -> bytes:
        kept = ResponseStore(9, 10**6) if store is None else store
        return b"".join([part async for part in stream(exchange(), told(turns, error), kept)])

    return read(asyncio.run(run()))


def plain(turns: list[Turn]) -> dict[str, Any]:
    response = asyncio.run(answer(exchange(), told(turns), ResponseStore(9, 10**6)))
    return whole(json.loads(response.model_dump_json()))


def last(finish: Finish = "stop", events: list[ChatEvent] | None = None) -> Turn:
    return Turn(0, events or [], finish=finish, usage=USAGE, tokens=1)
