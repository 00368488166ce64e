"""Requests of the Responses API as conversations: what needs no server."""

import json
from typing import Any

import pytest

from server.api.conversation import Turn
from server.api.responses.history import messages_of
from server.api.schemas.responses import ResponsesRequest
from server.api.schemas.responses_items import Item, ItemReference
from server.errors import InvalidValue, UnsupportedField

from .responding import WEATHER, last, plain


def items(*raw: dict[str, Any]) -> list[Item]:
    parsed = ResponsesRequest.model_validate({"model": "fake", "input": list(raw)}).input
    return [item for item in parsed if not isinstance(item, ItemReference)]


def test_a_round_of_tools_is_one_message_of_the_assistant_and_its_results() -> None:
    output = plain([Turn(0, WEATHER), last("tool_calls")])["output"]
    results: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "1 h"}]},
    ]
    assert messages_of("Be brief.", items({"role": "user", "content": "Weather?"}, *output, *results)) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "They ask for the weather.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                },
                {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": "1 h"},
    ]


def test_messages_may_be_written_in_many_ways() -> None:
    assert messages_of(
        None,
        items(
            {"role": "developer", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"type": "message", "role": "assistant", "id": None, "content": "c"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"role": "user", "content": "d"},
        ),
    ) == [
        {"role": "system", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "d"},
    ]


def test_what_is_said_around_calls_is_in_their_message() -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    said = {"role": "assistant", "content": "And?"}
    first, message = messages_of(None, items({"role": "user", "content": "x"}, call, thought, said, thought, call))
    assert first["role"] == "user"
    assert (message["content"], message["reasoning_content"]) == ("And?", "Hm.\nHm.")
    assert len(message["tool_calls"]) == 2


def test_an_output_needs_its_call() -> None:
    with pytest.raises(InvalidValue, match="call_9"):
        messages_of(None, items({"type": "function_call_output", "call_id": "call_9", "output": "x"}))


def test_fields_become_a_conversation() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = ResponsesRequest.model_validate(
        {
            "model": "fake",
            "input": "x",
            "tools": [{"type": "function", "name": "look", "parameters": schema, "strict": True}],
            "tool_choice": {"type": "function", "name": "look"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
            "reasoning": {"effort": "low", "summary": "auto"},
            "max_output_tokens": 7,
            "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
            "top_logprobs": 2,
        }
    )
    request.refuse_unsupported()
    assert request.functions.offered[0].parameters == schema
    assert request.functions.policy.name == "look"
    grammar = request.format.grammar()
    assert grammar
    assert json.loads(grammar.source) == schema
    assert grammar.param == "text.format.schema"
    assert (request.effort, request.token_limit, request.top) == ("low", 7, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conversation", "conv_1"),
        ("prompt", {"id": "p"}),
        ("truncation", "auto"),
        ("moderation", {"model": "m"}),
        ("text.verbosity", {"text": {"verbosity": "low"}}),
        ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
    ],
)
def test_what_cannot_be_honoured_is_named(field: str, value: Any) -> None:
    said = value if "." in field else {field: value}
    with pytest.raises(UnsupportedField) as caught:
        ResponsesRequest.model_validate({"model": "fake", "input": "x"} | said).refuse_unsupported()
    assert caught.value.param == field


def test_what_json_has_not_is_refused() -> None:
    deep: Any = []
    for _ in range(260):
        deep = [deep]
    for wrong in (float("nan"), deep):
        tool = {"type": "function", "name": "look", "parameters": {"default": wrong}}
        with pytest.raises(ValueError, match="JSON"):
            ResponsesRequest.model_validate({"model": "fake", "input": "x", "tools": [tool]})
    with pytest.raises(ValueError, match="JSON"):
        ResponsesRequest.model_validate({"model": "fake", "input": "x", "user": "\ud800"})
