"""The Vercel AI SDK (`ai` with `@ai-sdk/openai-compatible`) on Node: `ai_sdk/run.mjs` asks, this file judges."""

from typing import Any

import jsonschema
import pytest

from ..serving import RunningServer
from .node import Program

pytestmark = pytest.mark.real

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1, "maxLength": 20}, "days": {"enum": [1, 3]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.fixture
def ask(ai_sdk: Program, real_server: RunningServer) -> Any:
    """Runs a case against SmolLM2."""
    return lambda case: ai_sdk.run(case, url=real_server.url, model="smollm2")


@pytest.fixture
def ask_coder(ai_sdk: Program, coder_server: RunningServer) -> Any:
    """Runs a case against a model that calls tools."""
    return lambda case: ai_sdk.run(case, url=coder_server.url, model="qwen2.5-coder-0.5b")


def test_chat(ask: Any) -> None:
    answer = ask("chat")
    assert "Paris" in answer["text"]
    assert answer["finishReason"] == "stop"
    assert answer["model"] == "smollm2-135m-instruct"
    usage = answer["usage"]
    assert usage["inputTokens"] > 10
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert "Rome" in ask("conversation")["text"]


def test_a_stream_folds_to_the_plain_answer(ask: Any) -> None:
    answer = ask("stream")
    assert len(answer["pieces"]) > 5
    assert "".join(answer["pieces"]) == answer["plain"]
    assert answer["finishReason"] == "length"
    assert answer["usage"]["outputTokens"] == 24


def test_structured_output(ask: Any) -> None:
    """The program has parsed what it prints with the schema that it sent."""
    answer = ask("output")
    assert answer["output"].keys() == {"title", "year", "kind"}
    assert answer["usage"]["outputTokens"] > 0
    assert ask("object") == answer["output"]
    for case, whole in (("streamedOutput", "output"), ("streamedObject", "object")):
        streamed = ask(case)
        assert len(streamed["partial"]) > 1
        assert streamed["partial"][-1] == streamed[whole] == answer["output"]
    assert ask("choice") in ("sunny", "rainy")
    assert ask("cut") == {"typed": True, "finish": "length"}


@pytest.mark.parametrize("case", ["named", "auto"])
def test_a_call(ask_coder: Any, case: str) -> None:
    [step, *_] = ask_coder(case)
    for call in step["calls"]:
        assert call["toolName"] == "get_weather"
        assert not call["invalid"]
        jsonschema.validate(call["input"], WEATHER)
    assert step["finish"] == ("tool-calls" if step["calls"] else step["finish"])
    assert step["calls"] or case == "auto"


def test_a_round_trip_plain_and_streamed(ask_coder: Any) -> None:
    plain = ask_coder("round")
    called, answered = plain
    assert called["finish"] == "tool-calls"
    [call] = called["calls"]
    assert called["results"] == [{**call["input"], "sky": "sunny"}]
    assert answered["text"]
    assert answered["calls"] == []
    assert answered["usage"]["inputTokens"] > 0
    streamed = ask_coder("streamedRound")
    for one, other in zip(plain, streamed["steps"], strict=True):
        assert {**one, "usage": None} == {**other, "usage": None}
        assert one["usage"]["outputTokens"] == other["usage"]["outputTokens"]
    assert {"tool-input-start", "tool-input-delta", "tool-call", "tool-result", "text-delta"} <= {*streamed["types"]}


def test_an_error_is_typed_and_not_tried_again(ask: Any) -> None:
    error = ask("error")
    assert error["name"] == "AI_APICallError"
    assert error["statusCode"] == 404
    assert not error["isRetryable"]
    assert "Known models: " in error["message"]
    assert error["data"]["error"]["code"] == "model_not_found"
