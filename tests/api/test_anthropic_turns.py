"""Anthropic's messages to conversations, and turns to messages and events: what needs no server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from server.api.anthropic.answer import MessageBody
from server.api.anthropic.schemas import CountTokensRequest, MessagesRequest
from server.api.anthropic.writer import DIALECT, QUIET, Writer, stream, whole
from server.api.conversation import Conversation, Finish, Turn
from server.chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from server.chat.tools.base import ToolChoice
from server.errors import InvalidValue, QueueFull, UnsupportedField, WorkerDied
from server.models.spec import Sampling
from server.types import Usage

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
USAGE = Usage(prompt_tokens=10, completion_tokens=7, cached_tokens=4)
TOOL = {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object", "properties": {"city": {}}}}
WEATHER: list[ChatEvent] = [
    Reasoning("They ask for "),
    Reasoning("the weather."),
    Text("I look."),
    CallBegun(0, "call_1", "weather"),
    CallArguments(0, '{"city":'),
    CallArguments(0, '"Paris"}'),
    CallBegun(1, "call_2", "time"),
]


def last(finish: Finish = "stop", stop: str | None = None) -> Turn:
    return Turn(0, [], finish=finish, usage=USAGE, stop=stop, tokens=1)


async def told(turns: list[Turn]) -> AsyncGenerator[Turn]:
    for turn in turns:
        yield turn


def writer(limit: int = 7, *, hides_thoughts: bool = False) -> Writer:
    return Writer("msg_1", "fake", limit, hides_thoughts=hides_thoughts)


def plain(turns: list[Turn], **options: Any) -> MessageBody:
    return asyncio.run(whole(writer(**options), told(turns)))


def streamed(turns: list[Turn], **options: Any) -> list[dict[str, Any]]:
    async def run() -> bytes:
        return b"".join([part async for part in stream(writer(**options), told(turns))])

    frames = asyncio.run(run()).decode().removesuffix("\n\n").split("\n\n")
    return [json.loads(frame.split("\n")[1].removeprefix("data: ")) for frame in frames]


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the official client makes of the events; each has every field that its types require."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    opened: set[int] = set()
    for event in events:
        if event["type"] == "ping":
            continue
        parsed = EVENT.validate_python(event)
        if event["type"] == "content_block_start":
            assert event["index"] == len(opened)
            opened.add(event["index"])
        snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=buffers)
    raw: dict[str, Any] = snapshot.to_dict()
    for block in raw["content"]:
        block.pop("parsed_output", None)
    return raw


def dumped(message: MessageBody) -> dict[str, Any]:
    raw = json.loads(message.model_dump_json())
    Message.model_validate(raw)
    return dict(raw)


def test_thoughts_words_and_calls_are_blocks() -> None:
    message = plain([*(Turn(0, [event], tokens=1) for event in WEATHER), last("tool_calls")])
    assert dumped(message)["content"] == [
        {"type": "thinking", "thinking": "They ask for the weather.", "signature": ""},
        {"type": "text", "text": "I look.", "citations": None},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
    ]
    assert message.stop_reason == "tool_use"
    assert message.usage.model_dump() == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 7,
    }


def test_the_official_events_in_order() -> None:
    kinds = [
        f"{event['type']} {event.get('index', '')} {event.get('delta', {}).get('type', '')}".strip()
        for event in streamed([Turn(0, WEATHER), last("tool_calls")])
    ]
    assert kinds == [
        "message_start",
        "content_block_start 0",
        "content_block_delta 0 thinking_delta",
        "content_block_delta 0 thinking_delta",
        "content_block_delta 0 signature_delta",
        "content_block_stop 0",
        "content_block_start 1",
        "content_block_delta 1 text_delta",
        "content_block_stop 1",
        "content_block_start 2",
        "content_block_delta 2 input_json_delta",
        "content_block_stop 2",
        "content_block_start 3",
        "content_block_delta 3 input_json_delta",
        "content_block_stop 3",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("turn", "limit", "reason"),
    [
        (last("stop"), 7, "end_turn"),
        (last("stop", "END"), 7, "stop_sequence"),
        (last("length"), 7, "max_tokens"),
        (last("length"), 8, "model_context_window_exceeded"),
        (last("tool_calls"), 7, "tool_use"),
    ],
)
def test_why_an_answer_ended(turn: Turn, limit: int, reason: str) -> None:
    message = plain([turn], limit=limit)
    assert message.stop_reason == reason
    assert message.stop_sequence == turn.stop
    assert message.content == []


@pytest.mark.parametrize("written", ['{"city": "Par', "[1]", "Paris", '{"n": NaN}', "[" * 3000, '{"a": "\\ud800"}'])
def test_arguments_that_are_no_object_are_told_as_they_are(written: str) -> None:
    turns = [Turn(0, [CallBegun(0, "a", "b"), CallArguments(0, written)]), last("length")]
    assert folded(streamed(turns))["content"][0]["input"] == {"_unparsed": written}
    block = plain(turns).content[0]
    assert block.type == "tool_use"
    assert block.input == {"_unparsed": written}


def test_thoughts_may_be_left_untold() -> None:
    message = folded(streamed([Turn(0, WEATHER), last()], hides_thoughts=True))
    assert message["content"][0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert message["content"][1]["text"] == "I look."


def test_a_long_call_is_no_silence() -> None:
    pieces = [Turn(0, [CallArguments(0, " ")]) for _ in range(2 * QUIET)]
    events = streamed([Turn(0, [CallBegun(0, "a", "b")]), *pieces, last("tool_calls")])
    assert sum(event["type"] == "ping" for event in events) == 2


@st.composite
def answers(draw: st.DrawFn) -> list[Turn]:
    """Any order of words, thoughts and calls, cut anywhere into turns."""
    events: list[ChatEvent] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from("trc"), max_size=8)):
        text = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
        if kind == "c":
            written = draw(st.sampled_from(['{"a": 1.5, "b": ["\\u00e9"]}', "{}", "", " ", '{"a":', "no", text]))
            cut = draw(st.integers(0, len(written)))
            events.append(CallBegun(calls, f"call_{calls}", "tool"))
            events += [CallArguments(calls, part) for part in (written[:cut], written[cut:])]
            calls += 1
        else:
            events.append(Text(text) if kind == "t" else Reasoning(text))
    turns: list[Turn] = []
    while events:
        count = draw(st.integers(1, 3))
        turns.append(Turn(0, events[:count], tokens=1))
        events = events[count:]
    return [*turns, last(draw(st.sampled_from(["stop", "length", "tool_calls"])))]


@given(answers())
def test_a_stream_folds_to_the_plain_message(turns: list[Turn]) -> None:
    left, right = folded(streamed(turns)), dumped(plain(turns))
    assert {name: left.get(name) for name in right} == right


def request(**fields: Any) -> MessagesRequest:
    body: dict[str, Any] = {"model": "fake", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    return MessagesRequest.model_validate_json(json.dumps(body | fields))


def conversation(**fields: Any) -> Conversation:
    return request(**fields).conversation()


def test_a_conversation_with_tools_reads_as_openais() -> None:
    said: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Weather in"}, {"type": "text", "text": "Paris?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I look.", "signature": "abc"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Rain"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    assert conversation(system=[{"type": "text", "text": "Be brief."}], messages=said, tools=[TOOL]).messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in\nParis?"},
        {
            "role": "assistant",
            "content": "One moment.",
            "reasoning_content": "I look.",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}},
                {"id": "t2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Rain"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no such city"},
        {"role": "user", "content": "And?"},
    ]


def test_turns_of_one_role_are_one() -> None:
    said = [{"role": role, "content": text} for role, text in [("user", "a"), ("user", "b"), ("assistant", "c")]]
    assert conversation(messages=said).messages == [
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice("auto")),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto", None, parallel=False)),
        ({"type": "any"}, ToolChoice("required", None, parallel=False)),
        ({"type": "tool", "name": "weather"}, ToolChoice("named", "weather", parallel=False)),
        ({"type": "none"}, ToolChoice("none")),
    ],
)
def test_the_choice_among_tools(choice: dict[str, Any] | None, expected: ToolChoice) -> None:
    asked = conversation(tools=[{**TOOL, "type": "custom", "strict": True}], tool_choice=choice)
    assert asked.choice == expected
    assert asked.tools[0].parameters == TOOL["input_schema"]
    assert asked.tools[0].strict


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "medium"),
        ({"thinking": {"type": "enabled"}, "output_config": {"effort": "max"}}, "xhigh"),
        ({"output_config": {"effort": "low"}}, "low"),
    ],
)
def test_how_hard_to_think(fields: dict[str, Any], effort: str | None) -> None:
    assert conversation(**fields).reasoning_effort == effort


def test_a_schema_holds_the_answer() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    grammar = conversation(output_config={"format": {"type": "json_schema", "schema": schema}}).grammar
    assert grammar is not None
    assert (grammar.kind, json.loads(grammar.source)) == ("json_schema", schema)


def test_sampling_is_the_clients_or_the_makers() -> None:
    advised = Sampling(temperature=0.2, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1)
    left = request().sampling(advised)
    assert (left.temperature, left.top_p, left.top_k, left.min_p, left.repetition_penalty) == (0.2, 0.9, 20, 0.1, 1.1)
    given_ = request(temperature=0, top_p=0.5, top_k=0, stop_sequences=["END"]).sampling(advised)
    assert (given_.temperature, given_.top_p, given_.top_k, given_.stop) == (0, 0.5, 0, ("END",))
    assert given_.max_tokens == 9


REFUSED: list[dict[str, Any]] = [
    {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a"}]}]},
    {"messages": [{"role": "user", "content": []}]},
    {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    {"messages": [{"role": "user", "content": [{"type": 1}]}]},
    {"messages": [{"role": "user", "content": 1}]},
    {"messages": [{"role": "developer", "content": "a"}]},
    {"system": [{"type": "image"}]},
    {"max_tokens": None},
    {"temperature": 1.1},
    {"stop_sequences": [""]},
    {"tools": [TOOL, TOOL]},
    {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "time"}},
    {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    {"container": "abc"},
]


@pytest.mark.parametrize("fields", REFUSED, ids=str)
def test_what_cannot_be_honoured_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, InvalidValue, UnsupportedField)):
        conversation(**fields)


def test_unknown_fields_are_ignored() -> None:
    asked = request(service_tier="auto", context_management={"edits": []}, metadata={"user_id": "x"}, speed=None)
    assert asked.conversation().messages == [{"role": "user", "content": "Hello"}]
    assert CountTokensRequest(model="fake", messages=request().messages).conversation().messages


def test_an_error_in_the_midst_of_a_stream_is_an_event() -> None:
    assert DIALECT.failure(WorkerDied("Gone.")) == (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Gone."}}\n\n'
    )
    refusal = DIALECT.refusal(QueueFull("Full."))
    assert refusal.status_code == 429
    assert json.loads(bytes(refusal.body))["error"]["type"] == "rate_limit_error"
