"""LangChain's `ChatOpenAI`, as its documentation shows it."""

import asyncio
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from ..serving import RunningServer

pytestmark = pytest.mark.real

QUESTION = "What is the capital of France?"
STORY = "Tell me a story about a lighthouse."


class Book(BaseModel):
    """A book."""

    title: str = Field(min_length=1, max_length=24)
    year: int = Field(ge=1500, le=2100)
    kind: Literal["novel", "essay"]


@tool
def get_weather(city: str, days: Literal[1, 3]) -> str:
    """The weather of a city."""
    return f"{city}: sunny for {days} days"


def chat(server: RunningServer, model: str = "smollm2", **options: Any) -> ChatOpenAI:
    settings = {"temperature": 0, "max_tokens": 24, "max_retries": 0, "timeout": 110, "stream_usage": True}
    return ChatOpenAI(base_url=f"{server.url}/v1", api_key="none", model=model, **{**settings, **options})


@pytest.fixture
def model(real_server: RunningServer) -> ChatOpenAI:
    return chat(real_server)


@pytest.fixture
def coder(coder_server: RunningServer) -> ChatOpenAI:
    return chat(coder_server, "qwen2.5-coder-0.5b", max_tokens=48)


def folded(stream: Any) -> AIMessageChunk:
    """The pieces of a stream, added up as LangChain adds them."""
    whole: AIMessageChunk | None = None
    for piece in stream:
        whole = piece if whole is None else whole + piece
    assert whole is not None
    return whole


def test_chat(model: ChatOpenAI) -> None:
    answer = model.invoke(QUESTION)
    assert "Paris" in answer.text
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "smollm2-135m-instruct"
    usage = answer.usage_metadata
    assert usage
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    longer = [SystemMessage("Answer briefly."), HumanMessage(QUESTION), AIMessage("Paris."), HumanMessage("Of Italy?")]
    assert model.invoke(longer).text


def test_a_stream_folds_to_the_plain_answer(model: ChatOpenAI) -> None:
    plain, streamed = model.invoke(STORY), folded(model.stream(STORY))
    assert streamed.text == plain.text
    assert streamed.response_metadata["finish_reason"] == plain.response_metadata["finish_reason"] == "length"
    assert streamed.usage_metadata
    assert plain.usage_metadata
    assert streamed.usage_metadata["output_tokens"] == plain.usage_metadata["output_tokens"] == 24


def test_many_at_once(model: ChatOpenAI) -> None:
    answers = asyncio.run(model.abatch([QUESTION, STORY, QUESTION]))
    assert answers[0].text == answers[2].text


def test_logprobs(model: ChatOpenAI) -> None:
    answer = model.bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    assert "".join(token["token"] for token in answer.response_metadata["logprobs"]["content"]) == answer.text


# LangChain dumps what it has parsed as a type that says it holds nothing parsed, and Pydantic warns of that.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output(real_server: RunningServer, method: Any) -> None:
    model = chat(real_server, max_tokens=64)
    asked = model.with_structured_output(Book if method != "json_mode" else None, method=method, include_raw=True)
    answer = asked.invoke("Name a book, as JSON.")
    assert isinstance(answer, dict)
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], dict if method == "json_mode" else Book)
    if method == "json_schema":
        streamed = list(model.with_structured_output(Book, method=method).stream("Name a book, as JSON."))
        assert streamed[-1] == answer["parsed"]


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_a_call_is_forced_and_its_result_is_read(coder: ChatOpenAI, choice: str) -> None:
    asking = coder.bind_tools([get_weather], tool_choice=choice, parallel_tool_calls=False)
    question = HumanMessage("What will the weather be in Rome tomorrow?")
    called = asking.invoke([question])
    [call] = called.tool_calls
    assert called.response_metadata["finish_reason"] == "tool_calls"
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.text.startswith(call["args"]["city"])
    streamed = folded(asking.stream([question]))
    assert [(one["name"], one["args"]) for one in streamed.tool_calls] == [(call["name"], call["args"])]
    assert coder.bind_tools([get_weather], tool_choice="none").invoke([question, called, result]).text


def test_a_call_is_allowed(coder: ChatOpenAI) -> None:
    for strict in (None, True):
        asking = coder.bind_tools([get_weather], strict=strict)
        plain, streamed = asking.invoke("Weather in Rome?"), folded(asking.stream("Weather in Rome?"))
        assert streamed.text == plain.text
        assert [one["args"] for one in streamed.tool_calls] == [one["args"] for one in plain.tool_calls]
        assert not plain.invalid_tool_calls or not strict


def test_errors_are_typed(real_server: RunningServer) -> None:
    with pytest.raises(openai.NotFoundError, match=r"Known models: .*smollm2-135m-instruct"):
        chat(real_server, "gpt-9").invoke(QUESTION)
    with pytest.raises(openai.BadRequestError, match="9000 more"):
        list(chat(real_server, max_tokens=9000).stream(QUESTION))
