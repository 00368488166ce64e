"""Ollama's messages to conversations, and turns to lines: what needs no server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama import ChatResponse, GenerateResponse
from pydantic import ValidationError

from server.api.conversation import Finish, Turn
from server.api.ollama.answer import DIALECT, Lines, Place, in_message, in_response, stream, whole
from server.api.ollama.catalogue import parameter_size
from server.api.ollama.pulling import line_of
from server.api.ollama.schemas import ChatRequest, GenerateRequest
from server.api.until_full import until_full
from server.chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from server.errors import ContextLengthExceeded, CupolaError, InvalidValue, UnsupportedField, WorkerDied
from server.models.progress import Progress
from server.models.spec import Sampling
from server.types import Likely, TokenLogprob, Usage

USAGE = Usage(10, 7, 4, queue_seconds=0.5, prompt_seconds=1.0, decode_seconds=2.0)
SCORED = (TokenLogprob(3, b"a", -0.5, (Likely(3, b"a", -0.5),)),)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
FIELDS = {
    "model",
    "created_at",
    "done",
    "done_reason",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


def last(finish: Finish = "stop", events: list[ChatEvent] | None = None) -> Turn:
    return Turn(0, events or [], finish=finish, usage=USAGE, tokens=1)


async def told(turns: list[Turn]) -> AsyncGenerator[Turn]:
    for turn in turns:
        yield turn


def lines(place: Place) -> Lines:
    times = iter([0.0, 4.0])
    return Lines("fake", place, lambda: next(times))


def streamed(turns: list[Turn], place: Place = in_message) -> list[dict[str, Any]]:
    async def run() -> bytes:
        return b"".join([part async for part in stream(lines(place), told(turns))])

    return [json.loads(line) for line in asyncio.run(run()).splitlines()]


def plain(turns: list[Turn], place: Place = in_message) -> dict[str, Any]:
    return asyncio.run(whole(lines(place), told(turns)))


def test_a_chat_is_lines_and_the_last_one_says_how_it_ended() -> None:
    first, second, final = streamed([Turn(0, [Reasoning("Hm.")]), Turn(0, []), Turn(0, [Text("Hi")]), last("length")])
    assert first["message"] == {"role": "assistant", "content": "", "thinking": "Hm."}
    assert second["message"] == {"role": "assistant", "content": "Hi"}
    assert [line["done"] for line in (first, second, final)] == [False, False, True]
    assert final["message"] == {"role": "assistant", "content": ""}
    assert final["done_reason"] == "length"
    assert final.keys() >= FIELDS
    assert (final["total_duration"], final["load_duration"]) == (4_000_000_000, 1_000_000_000)
    assert (final["prompt_eval_count"], final["prompt_eval_duration"]) == (10, 1_000_000_000)
    assert (final["eval_count"], final["eval_duration"]) == (7, 2_000_000_000)


def test_calls_come_whole_when_they_are_complete() -> None:
    turns = [
        Turn(0, [Text("I look."), CallBegun(0, "a", "weather"), CallArguments(0, '{"city":')]),
        Turn(0, [CallArguments(0, '"Paris"}')]),
        Turn(0, [CallBegun(1, "b", "time")]),
        Turn(0, [CallArguments(1, "{")]),
        last("tool_calls"),
    ]
    said, weather, time, final = streamed(turns)
    assert said["message"]["content"] == "I look."
    assert weather["message"]["tool_calls"] == [
        {"id": "a", "function": {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}}
    ]
    assert time["message"]["tool_calls"][0]["function"] == {"index": 1, "name": "time", "arguments": {"_unparsed": "{"}}
    assert final["done_reason"] == "stop"
    message = ChatResponse.model_validate(plain(turns)).message
    assert [call.function.name for call in message.tool_calls or ()] == ["weather", "time"]
    assert message.content == "I look."


def test_a_generated_text_stands_in_response() -> None:
    turns = [Turn(0, [Reasoning("Hm."), Text("He")], SCORED), Turn(0, [], SCORED), Turn(0, [Text("llo")]), last()]
    answer = plain(turns, in_response)
    assert answer.keys() >= FIELDS
    assert (answer["response"], answer["thinking"]) == ("Hello", "Hm.")
    assert "message" not in answer
    parsed = GenerateResponse.model_validate(answer)
    assert [one.token for one in parsed.logprobs or ()] == ["a", "a"]
    assert streamed(turns, in_response)[-1]["response"] == ""


EVENTS = st.one_of(
    st.builds(Text, st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
    st.builds(Reasoning, st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
)
CALL = st.sampled_from([[CallBegun(0, "a", "b"), CallArguments(0, '{"c"'), CallArguments(0, ": 1}")], []])


@given(st.lists(EVENTS, max_size=6), CALL, st.lists(EVENTS, max_size=3), st.data())
def test_a_stream_folds_to_the_plain_answer(
    before: list[ChatEvent], call: list[ChatEvent], after: list[ChatEvent], data: st.DataObject
) -> None:
    events, turns = [*before, *call, *after], []
    while events:
        count = data.draw(st.integers(1, 3))
        turns.append(Turn(0, events[:count], SCORED[: data.draw(st.integers(0, 1))], tokens=1))
        events = events[count:]
    turns.append(last())
    found, answer = streamed(turns), plain(turns)
    assert "".join(line["message"]["content"] for line in found) == answer["message"]["content"]
    assert "".join(line["message"].get("thinking", "") for line in found) == answer["message"].get("thinking", "")
    calls = [call for line in found for call in line["message"].get("tool_calls", ())]
    assert calls == answer["message"].get("tool_calls", [])
    assert [one for line in found for one in line.get("logprobs", ())] == answer.get("logprobs", [])
    assert len(answer.get("logprobs", [])) == sum(len(turn.logprobs) for turn in turns)
    assert answer["done"]


def chat(**fields: Any) -> ChatRequest:
    body: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    return ChatRequest.model_validate_json(json.dumps(body | fields))


def test_results_find_their_calls() -> None:
    calls = [{"function": {"name": name, "arguments": {"n": n}}} for n, name in enumerate(["time", "weather", "time"])]
    said = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "thinking": "Hm.", "tool_calls": calls},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
        {"role": "tool", "content": "ten"},
        {"role": "tool", "tool_name": "time", "content": "eleven"},
        {"role": "tool", "tool_name": "unknown", "content": "?"},
    ]
    messages = chat(messages=said).conversation().messages
    assert messages[1]["reasoning_content"] == "Hm."
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_0", "call_1", "call_2"]
    assert messages[1]["tool_calls"][1]["function"] == {"name": "weather", "arguments": '{"n": 1}'}
    assert [message.get("tool_call_id") for message in messages[2:]] == ["call_1", "call_0", "call_2", None]
    assert [message["name"] for message in messages[2:]] == ["weather", "time", "time", "unknown"]


def test_options_are_sampling() -> None:
    options = {"temperature": 0, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 7, "num_predict": 9, "stop": ["END"]}
    penalties = {"repeat_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": 0.25}
    asked = chat(options={**options, **penalties, "num_ctx": 10**6, "num_thread": 4, "mirostat": 0})
    asked.refuse_unsupported()
    found = asked.conversation().sampling(Sampling(temperature=0.9))
    assert (found.temperature, found.top_k, found.top_p, found.min_p, found.seed) == (0, 5, 0.5, 0.1, 7)
    assert (found.max_tokens, found.stop, found.repetition_penalty) == (9, ("END",), 1.2)
    assert (found.presence_penalty, found.frequency_penalty) == (0.5, 0.25)


def test_what_is_left_out_is_the_makers() -> None:
    advised = Sampling(temperature=0.2, top_k=20, repetition_penalty=1.1)
    found = chat(options={"num_predict": -1}).conversation().sampling(advised)
    assert (found.temperature, found.top_k, found.repetition_penalty, found.max_tokens) == (0.2, 20, 1.1, None)
    off = chat(options={"repeat_last_n": 0, "repeat_penalty": 1.3}).conversation().sampling(advised)
    assert off.repetition_penalty == 1


@pytest.mark.parametrize(
    ("think", "effort"), [(None, None), (True, "medium"), (False, "none"), ("low", "low"), ("max", "xhigh")]
)
def test_how_hard_to_think(think: bool | str | None, effort: str | None) -> None:
    assert chat(think=think).conversation().reasoning_effort == effort


@pytest.mark.parametrize(
    ("form", "source"), [(None, None), ("", None), ("json", {"type": "object"}), ({}, {}), ({"type": "array"},) * 2]
)
def test_a_format_holds_the_answer(form: Any, source: Any) -> None:
    grammar = chat(format=form).conversation().grammar
    assert (grammar and json.loads(grammar.source)) == source


REFUSED: list[dict[str, Any]] = [
    {"template": "{{ .Prompt }}"},
    {"images": ["aGk="]},
    {"messages": [{"role": "user", "content": "a", "images": ["aGk="]}]},
    {"messages": [{"role": "user", "content": "a", "tool_calls": [{"function": {"name": "a", "arguments": {}}}]}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}]},
    {"messages": [{"role": "developer", "content": "a"}]},
    {"options": {"mirostat": 2}},
    {"options": {"typical_p": 0.5}},
    {"options": {"num_predict": 0}},
    {"options": {"num_predict": -3}},
    {"options": {"repeat_last_n": 64, "repeat_penalty": 1.1}},
    {"options": {"temperature": 2.1}},
    {"tools": [TOOL, TOOL]},
    {"format": "yaml"},
    {"think": "hard"},
]


@pytest.mark.parametrize("fields", REFUSED, ids=str)
def test_what_cannot_be_honoured_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, InvalidValue, UnsupportedField)):
        chat(**fields).refuse_unsupported()


@pytest.mark.parametrize(
    "fields", [{"suffix": "b"}, {"context": [1]}, {"images": ["aGk="]}, {"raw": True, "system": "Be brief."}], ids=str
)
def test_what_generate_cannot_honour_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedField):
        GenerateRequest.model_validate({"model": "fake", "prompt": "a", **fields}).refuse_unsupported()


def test_generate_is_a_turn_of_the_user() -> None:
    asked = GenerateRequest(model="fake", prompt="Hello", system="Be brief.").conversation()
    assert asked.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def test_a_request_without_words_and_no_time_to_stay_unloads() -> None:
    for now in (0, 0.0, "0", "0s"):
        assert chat(keep_alive=now).unloads
    for later, seconds in ((None, None), (-1, -1), ("-5m", -1), (300, 300), ("5m", 300)):
        assert not chat(keep_alive=later).unloads
        assert chat(keep_alive=later).keep_alive == seconds


def test_a_limit_that_does_not_fit_gives_way_to_the_context_and_a_prompt_does_not() -> None:
    asked: list[bool] = []

    def attempt(param: str | None, error: type[CupolaError] = ContextLengthExceeded) -> list[Turn]:
        async def turns(full: bool) -> AsyncGenerator[Turn]:
            asked.append(full)
            if not full:
                raise error("Too long.", param=param)
            yield last("length")

        async def run() -> list[Turn]:
            return [turn async for turn in until_full(turns)]

        return asyncio.run(run())

    assert attempt("max_tokens")[0].finish == "length"
    assert asked == [False, True]
    for param, error in ((None, ContextLengthExceeded), ("max_tokens", InvalidValue)):
        asked.clear()
        with pytest.raises(error):
            attempt(param, error)
        assert asked == [False]


def test_small_things() -> None:
    assert DIALECT.failure(WorkerDied("Gone.")) == b'{"error":"Gone."}\n'
    sizes = [parameter_size(count) for count in (None, 135_000_000, 1_700_000_000, 494_032_768)]
    assert sizes == ["", "135M", "1.7B", "494M"]
    assert line_of(Progress("a.gguf", 1, 2, "downloading")) == {
        "status": "pulling a.gguf",
        "digest": "a.gguf",
        "completed": 1,
        "total": 2,
    }
    assert "total" not in line_of(Progress("a.gguf", 1, None, "verifying"))
    assert line_of("It cannot run here.") == {"status": "It cannot run here."}
