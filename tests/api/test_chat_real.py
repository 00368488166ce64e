"""Every option of chat completions through the official client's typed parsing, on both engines, over a real socket."""

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema
import openai
import pytest
from openai import OpenAI
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionToolParam,
    ChatCompletionUserMessageParam,
)
from pydantic import BaseModel, Field

from ..serving import RunningServer

pytestmark = pytest.mark.real

MODEL = "smollm2"
QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "What is the capital of France?"}
BOOK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 24},
        "year": {"type": "integer", "minimum": 1500, "maximum": 2100},
        "kind": {"enum": ["novel", "essay"]},
    },
    "required": ["title", "year", "kind"],
    "additionalProperties": False,
}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 20}, "days": {"enum": [1, 3, 7]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(real_server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def ask(client: OpenAI, **options: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(
        **{"model": MODEL, "messages": [QUESTION], "temperature": 0, "max_tokens": 24, **options}
    )
    return answer


def folded(client: OpenAI, n: int = 1, **options: Any) -> list[dict[str, Any]]:
    """The choices of a stream: text, calls, log-probabilities and end."""
    found: list[dict[str, Any]] = [{"text": "", "calls": {}, "logprobs": [], "finish": None} for _ in range(n)]
    stream = client.chat.completions.create(
        **{
            "model": MODEL,
            "messages": [QUESTION],
            "temperature": 0,
            "max_tokens": 24,
            "stream": True,
            "n": n,
            **options,
        }
    )
    for chunk in stream:
        assert isinstance(chunk, ChatCompletionChunk)
        for choice in chunk.choices:
            mine = found[choice.index]
            assert choice.delta.content != ""
            mine["text"] += choice.delta.content or ""
            mine["finish"] = choice.finish_reason or mine["finish"]
            mine["logprobs"] += (choice.logprobs and choice.logprobs.content) or []
            for call in choice.delta.tool_calls or []:
                assert call.function
                name, arguments = mine["calls"].get(call.index, ("", ""))
                mine["calls"][call.index] = (
                    name + (call.function.name or ""),
                    arguments + (call.function.arguments or ""),
                )
    return found


def test_several_continuations_cost_one_prompt(client: OpenAI) -> None:
    # A question with many good answers: four to "the capital of France" may well be the same.
    story: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "temperature": 1,
        "seed": 3,
    }
    one = ask(client, **story)
    four = ask(client, n=4, logprobs=True, top_logprobs=2, **story)
    assert [choice.index for choice in four.choices] == [0, 1, 2, 3]
    assert four.choices[0].message.content == one.choices[0].message.content
    assert len({choice.message.content for choice in four.choices}) > 1
    assert four.usage
    assert one.usage
    assert four.usage.prompt_tokens == one.usage.prompt_tokens
    assert four.usage.completion_tokens > one.usage.completion_tokens
    streamed = folded(client, 4, logprobs=True, top_logprobs=2, **story)
    assert [one["text"] for one in streamed] == [choice.message.content for choice in four.choices]
    assert [one["finish"] for one in streamed] == [choice.finish_reason for choice in four.choices]


def test_logprobs_are_a_distribution_and_follow_the_text(client: OpenAI) -> None:
    answer = ask(client, logprobs=True, top_logprobs=5).choices[0]
    assert answer.logprobs
    assert answer.logprobs.content
    assert "".join(token.token for token in answer.logprobs.content) == answer.message.content
    for token in answer.logprobs.content:
        assert len(token.top_logprobs) == 5
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob)  # greedy takes the likeliest
        assert bytes(token.bytes or []).decode() == token.token
        assert sum(math.exp(likely.logprob) for likely in token.top_logprobs) <= 1 + 1e-6
    [streamed] = folded(client, logprobs=True, top_logprobs=5)
    assert [token.logprob for token in streamed["logprobs"]] == [token.logprob for token in answer.logprobs.content]


def test_a_bias_forbids_and_forces(client: OpenAI, real_server: RunningServer) -> None:
    scored = ask(client, logprobs=True, max_tokens=1).choices[0].logprobs
    assert scored
    assert scored.content
    with real_server.client() as http:
        word = scored.content[0].token
        [token] = http.post("/tokenize", json={"model": MODEL, "prompt": word, "add_special_tokens": False}).json()[
            "tokens"
        ]
    banned = ask(client, logit_bias={str(token): -100}, max_tokens=1)
    assert banned.choices[0].message.content != word


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_is_enforced(client: OpenAI, strict: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "book", "schema": BOOK, "strict": strict}}
    for seed in range(5):
        answer = ask(client, response_format=form, temperature=1, seed=seed, max_tokens=80)
        jsonschema.validate(json.loads(answer.choices[0].message.content or ""), BOOK)
        assert answer.choices[0].finish_reason == "stop"
    [streamed] = folded(client, response_format=form, temperature=1, seed=4, max_tokens=80)
    assert streamed["text"] == answer.choices[0].message.content


class Book(BaseModel):
    title: str = Field(max_length=24)
    year: int = Field(ge=1500, le=2100)
    kind: Literal["novel", "essay"]


def test_the_client_parses_into_a_type(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Name a book."}], response_format=Book, max_tokens=80
    )
    assert isinstance(answer.choices[0].message.parsed, Book)


def test_any_json_object_and_the_names_of_vllm_and_llama_server(client: OpenAI) -> None:
    assert isinstance(
        json.loads(
            ask(client, response_format={"type": "json_object"}, max_tokens=60).choices[0].message.content or ""
        ),
        dict,
    )
    for extra, expected in (
        ({"guided_choice": ["Paris", "Rome"]}, {"Paris", "Rome"}),
        ({"guided_regex": "(Lyon|Nice)"}, {"Lyon", "Nice"}),
        ({"structured_outputs": {"choice": ["Bonn"]}}, {"Bonn"}),
        ({"grammar": 'root ::= "Oslo" | "Bergen"'}, {"Oslo", "Bergen"}),
        ({"guided_json": {"const": "Kyiv"}}, {'"Kyiv"'}),
    ):
        assert ask(client, extra_body=extra).choices[0].message.content in expected


def test_a_schema_that_cannot_be_enforced_is_refused(client: OpenAI) -> None:
    for schema in ({"type": "strin"}, {"not": {"type": "string"}}, {"$ref": "http://example.org/x"}):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as raised:
                client.chat.completions.create(  # type: ignore[call-overload]
                    model=MODEL, messages=[QUESTION], response_format=form, stream=stream
                )
            assert raised.value.param == "response_format"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_call_has_valid_arguments(client: OpenAI, choice: Any) -> None:
    """The model knows no tools: they are described to it, and the grammar does the rest."""
    options = {"tools": [WEATHER], "tool_choice": choice, "max_tokens": 60, "parallel_tool_calls": False}
    answer = ask(client, **options).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    assert answer.message.tool_calls
    [call] = answer.message.tool_calls
    assert call.type == "function"
    parameters = WEATHER["function"]["parameters"]
    jsonschema.validate(json.loads(call.function.arguments), parameters)
    [streamed] = folded(client, **options)
    assert streamed["calls"] == {0: (call.function.name, call.function.arguments)}
    assert streamed["finish"] == "tool_calls"


def test_the_result_of_a_tool_is_read(client: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny, 24 degrees"},
    ]
    answer = ask(client, messages=messages, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.choices[0].message.content


def test_an_answer_is_continued(client: OpenAI) -> None:
    messages = [QUESTION, {"role": "assistant", "content": "The capital of France is"}]
    assert (ask(client, messages=messages).choices[0].message.content or "").startswith(" Paris")


def test_text_parts_and_every_role_are_read(client: OpenAI) -> None:
    parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": "of France?"}]
    messages = [{"role": "developer", "content": "Answer briefly."}, {"role": "user", "content": parts, "name": "ann"}]
    assert "Paris" in (ask(client, messages=messages, user="ann", metadata={"a": "b"}).choices[0].message.content or "")


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 0}, "n"),
        ({"top_logprobs": 2}, "body"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tool_choice": "required"}, "body"),
        ({"tools": [WEATHER, WEATHER]}, "body"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "body"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "reads text only",
        ),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"audio": {"voice": "x"}}, "audio"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: OpenAI, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, **options)
    assert param in (raised.value.param or "body") or param in raised.value.message
