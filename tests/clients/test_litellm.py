"""LiteLLM with its providers `openai` and `hosted_vllm`, both of which take an address."""

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema
import litellm
import pytest
from litellm.exceptions import BadRequestError, NotFoundError
from pydantic import BaseModel, Field

from ..serving import RunningServer

# LiteLLM's types, which it imports at its first request, make Pydantic warn, which is no business of a server.
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

QUESTION = {"role": "user", "content": "What is the capital of France?"}
STORY = {"role": "user", "content": "Tell me a story about a lighthouse."}
RAIN = {"role": "user", "content": "What will the weather be in Rome tomorrow?"}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 20}, "days": {"enum": [1, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city", "parameters": PARAMETERS},
}


class Book(BaseModel):
    title: str = Field(min_length=1, max_length=24)
    year: int = Field(ge=1500, le=2100)
    kind: Literal["novel", "essay"]


@pytest.fixture(autouse=True)
def _event_loop() -> Iterator[None]:
    """LiteLLM's plain calls take the thread's event loop, or leave a new one open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
    gc.collect()  # what the client leaves unclosed is found here, where its warnings are ignored


@pytest.fixture(params=["openai", "hosted_vllm"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(server: RunningServer, model: str, *messages: Any, **options: Any) -> Any:
    settings = {"temperature": 0, "max_tokens": 24, "num_retries": 0, "timeout": 110}
    return litellm.completion(
        model=model, api_base=f"{server.url}/v1", api_key="none", messages=[*messages], **{**settings, **options}
    )


def folded(stream: Any, messages: list[Any]) -> Any:
    """The pieces of a stream, put together by LiteLLM."""
    return litellm.stream_chunk_builder(list(stream), messages=messages)


def test_chat(real_server: RunningServer, provider: str) -> None:
    answer = ask(real_server, f"{provider}/smollm2", QUESTION)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert "smollm2-135m-instruct" in answer.model
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_folds_to_the_plain_answer(real_server: RunningServer, provider: str) -> None:
    model = f"{provider}/smollm2"
    plain = ask(real_server, model, STORY)
    stream = ask(real_server, model, STORY, stream=True, stream_options={"include_usage": True})
    streamed = folded(stream, [STORY])
    assert streamed.choices[0].message.content == plain.choices[0].message.content
    assert streamed.choices[0].finish_reason == plain.choices[0].finish_reason == "length"
    assert streamed.usage.prompt_tokens == plain.usage.prompt_tokens
    assert streamed.usage.completion_tokens == plain.usage.completion_tokens == 24


def test_structured_output(real_server: RunningServer, provider: str) -> None:
    model, options = f"{provider}/smollm2", {"response_format": Book, "max_tokens": 64}
    request = {"role": "user", "content": "Name a book."}
    plain = ask(real_server, model, request, **options).choices[0].message.content
    Book.model_validate_json(plain)
    streamed = folded(ask(real_server, model, request, stream=True, **options), [request])
    assert streamed.choices[0].message.content == plain
    anything = ask(real_server, model, request, response_format={"type": "json_object"}, max_tokens=64)
    assert isinstance(json.loads(anything.choices[0].message.content), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_is_forced_and_its_result_is_read(coder_server: RunningServer, provider: str, choice: Any) -> None:
    model = f"{provider}/qwen2.5-coder-0.5b"
    options = {"tools": [WEATHER], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 48}
    plain = ask(coder_server, model, RAIN, **options).choices[0]
    assert plain.finish_reason == "tool_calls"
    [call] = plain.message.tool_calls
    jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)
    streamed = folded(ask(coder_server, model, RAIN, stream=True, **options), [RAIN]).choices[0]
    assert streamed.finish_reason == "tool_calls"
    [other] = streamed.message.tool_calls
    assert (other.function.name, other.function.arguments) == (call.function.name, call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 24 degrees"}
    answer = ask(coder_server, model, RAIN, plain.message, result, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content


def test_a_call_is_allowed(coder_server: RunningServer, provider: str) -> None:
    options = {"tools": [WEATHER], "tool_choice": "auto", "max_tokens": 48}
    plain = ask(coder_server, f"{provider}/qwen2.5-coder-0.5b", RAIN, **options).choices[0]
    assert plain.message.content or plain.message.tool_calls


def test_asynchronous(real_server: RunningServer) -> None:
    options = {"api_base": f"{real_server.url}/v1", "api_key": "none", "temperature": 0}
    answer = asyncio.run(litellm.acompletion(model="openai/smollm2", messages=[QUESTION], **options))
    assert "Paris" in answer.choices[0].message.content


def test_errors_are_typed(real_server: RunningServer, provider: str) -> None:
    with pytest.raises(NotFoundError, match=r"Known models: .*smollm2-135m-instruct"):
        ask(real_server, f"{provider}/gpt-9", QUESTION)
    with pytest.raises(BadRequestError, match="9000 more"):
        list(ask(real_server, f"{provider}/smollm2", QUESTION, max_tokens=9000, stream=True))
