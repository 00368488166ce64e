"""Turns as responses and items as messages: what needs no server."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.conversation import Finish, Reply, Turn
from server.api.responses.exchange import stream
from server.api.responses.store import ResponseStore
from server.api.schemas.responses_items import OutputMessage
from server.chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from server.errors import QueueFull, WorkerDied

from .responding import SCORED, WEATHER, exchange, folded, last, plain, streamed, told


def unnamed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name != "id"} for item in items]


def test_a_plain_text_has_the_official_events_in_order() -> None:
    events = streamed([Turn(0, [Text("Hel")]), Turn(0, [Text("lo")]), last()])
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["response"]["status"] for event in events[:2]] == ["in_progress", "in_progress"]
    assert events[0]["response"]["output"] == []
    final = events[-1]["response"]
    assert final["status"] == "completed"
    assert final["completed_at"]
    assert final["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }


def test_thoughts_words_and_calls_are_items() -> None:
    events = streamed([*(Turn(0, [event], tokens=3) for event in WEATHER), last("tool_calls")])
    reasoning, message, weather, time = events[-1]["response"]["output"]
    assert reasoning["id"].startswith("rs_")
    assert reasoning["summary"] == []
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "They ask for the weather."}]
    assert message["content"][0]["text"] == "I look."
    assert weather["id"].startswith("fc_")
    assert (weather["call_id"], weather["name"], weather["arguments"]) == ("call_1", "weather", '{"city":"Paris"}')
    assert (time["call_id"], time["arguments"]) == ("call_2", "{}")
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] == 6
    assert sum(event["type"] == "response.function_call_arguments.done" for event in events) == 2


def test_an_answer_that_was_cut_is_incomplete() -> None:
    final = plain([Turn(0, [Text("Once upon")]), last("length")])
    assert final["status"] == "incomplete"
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["output"][0]["status"] == "incomplete"


def test_an_answer_without_a_word_is_an_empty_message() -> None:
    assert plain([last()])["output"][0]["content"][0]["text"] == ""


def test_a_failure_in_the_midst_is_an_event_and_is_kept() -> None:
    store = ResponseStore(9, 10**6)
    events = streamed([Turn(0, [Text("Half")])], WorkerDied("The worker ended."), store)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "The worker ended."}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"
    assert store.get("resp_1").body().status == "failed"


def test_a_failure_before_the_first_word_is_an_error_of_the_request() -> None:
    with pytest.raises(QueueFull):
        streamed([], QueueFull("Too many."))


def test_log_probabilities_go_with_words_and_none_is_lost() -> None:
    turns = [
        Turn(0, [Reasoning("Hm")], SCORED),
        Turn(0, [], SCORED),
        Turn(0, [Text("a")], SCORED),
        Turn(0, [], SCORED),
        last(),
    ]
    events = streamed(turns)
    assert len(folded(events)[1]["content"][0]["logprobs"]) == 3
    assert events[-1]["response"]["output"][1]["content"][0]["logprobs"][0]["token"] == "a"


STEPS: list[ChatEvent | str] = [Text(""), Text("a\n"), Text("é"), Reasoning(""), Reasoning("hm"), "call", "{", "", "|"]


def read_by_a_parser(steps: list[ChatEvent | str], finish: Finish) -> list[Turn]:
    """Words and thoughts in any order, calls one after the other; `|` ends a turn."""
    turns, index = [Turn(0, [])], -1
    for step in steps:
        events = turns[-1].events
        if step == "|":
            turns.append(Turn(0, [], SCORED, tokens=1))
        elif step == "call":
            index += 1
            events.append(CallBegun(index, f"call_{index}", "look"))
        elif not isinstance(step, str):
            events.append(step)
        elif any(isinstance(said, CallBegun | CallArguments) for said in _said(turns)[-1:]):
            events.append(CallArguments(index, step))
    return [*turns, last(finish)]


def _said(turns: list[Turn]) -> list[ChatEvent]:
    return [event for turn in turns for event in turn.events if not isinstance(event, Text | Reasoning) or event.text]


answers = st.builds(
    read_by_a_parser, st.lists(st.sampled_from(STEPS), max_size=14), st.sampled_from(["stop", "length"])
)


@given(answers)
def test_the_folded_stream_is_the_plain_answer(turns: list[Turn]) -> None:
    events, answer = streamed(turns), plain(turns)
    output = folded(events)
    assert output == events[-1]["response"]["output"]
    assert unnamed(output) == unnamed(answer["output"])
    assert {e["type"] for e in events[-1:]} == {f"response.{answer['status']}"}
    reply = Reply()
    for turn in turns:
        reply.add(turn)
    said = [part["text"] for item in output if item["type"] == "message" for part in item["content"]]
    assert "".join(said) == reply.text
    assert [item["arguments"] for item in output if item["type"] == "function_call"] == [
        call.arguments for call in reply.calls
    ]


@pytest.mark.parametrize("awaited", [True, False])
def test_a_stream_that_the_client_leaves_is_kept_as_far_as_it_came(awaited: bool) -> None:
    """It leaves while an event is sent, or while the next turn is awaited."""

    async def turns() -> AsyncGenerator[Turn]:
        yield Turn(0, [Text("Hello")])
        await asyncio.sleep(3600)
        yield last()

    async def main(store: ResponseStore) -> None:
        events = stream(exchange(), turns(), store)
        told = b""
        while b"output_text.delta" not in told:
            told = await anext(events)
        if awaited:
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        else:
            await events.aclose()

    store = ResponseStore(9, 10**6)
    asyncio.run(main(store))
    kept = store.get("resp_1").body()
    assert kept.status == "cancelled"
    (message,) = kept.output
    assert isinstance(message, OutputMessage)
    assert (message.status, message.content[0].text) == ("incomplete", "Hello")  # type: ignore[union-attr]


def test_a_stream_that_the_client_leaves_before_it_began_is_not_kept() -> None:
    async def main(store: ResponseStore) -> None:
        await stream(exchange(), told([last()]), store).aclose()

    store = ResponseStore(9, 10**6)
    asyncio.run(main(store))
    assert len(store) == 0
