"""The contract of chat streams in raw HTTP: what every client builds on, without one between the bytes and the test."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ..serving import RunningServer, add_fake_model, pull, running_server

# A template that opens a thought by itself, as those of Qwen3-Thinking and of DeepSeek-R1 do.
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}{# </think> #}"
)
FIRST = {"role": "user", "content": "What is the capital of France?"}
BOOK = {
    "type": "object",
    "properties": {"title": {"type": "string", "minLength": 1, "maxLength": 12}, "kind": {"enum": ["novel", "essay"]}},
    "required": ["title", "kind"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "book", "schema": BOOK}}
TOOL = {"type": "function", "function": {"name": "keep_book", "description": "Keeps a book", "parameters": BOOK}}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "n": {"n": 3, "temperature": 1, "seed": 5, "max_tokens": 12},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "n with logprobs": {"n": 2, "temperature": 1, "seed": 5, "logprobs": True, "max_tokens": 12},
    "stop": {"stop": [" of"]},
    "one token": {"max_tokens": 1},
    "structured": {"response_format": FORM, "max_tokens": 48},
    "structured with logprobs": {"response_format": FORM, "max_tokens": 48, "logprobs": True},
    "tools": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 64},
    "tools with logprobs": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 64, "logprobs": True},
    "n with tools": {"n": 2, "seed": 5, "temperature": 1, "tools": [TOOL], "tool_choice": "required", "max_tokens": 64},
    "tools, either way": {"tools": [TOOL]},
}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def body(model: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "messages": [FIRST], "temperature": 0, "max_tokens": 16, **options}


def whole(server: RunningServer, model: str, **options: Any) -> dict[str, Any]:
    with server.client() as http:
        answer = http.post("/v1/chat/completions", json=body(model, options))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def chunks(server: RunningServer, model: str, **options: Any) -> list[dict[str, Any]]:
    """The events of a stream, of which each is one `data:` line and the last is `[DONE]`."""
    with server.client() as http:
        answer = http.post("/v1/chat/completions", json=body(model, {"stream": True, **options}))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events.pop() == ""
    assert events.pop() == "data: [DONE]"
    assert all(event.startswith("data: {") and "\n" not in event for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def check_shape(found: list[dict[str, Any]], n: int) -> None:
    """What holds for each chunk, and for the first and the last one of each choice."""
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in found}) == 1
    assert found[0]["object"] == "chat.completion.chunk"
    for index in range(n):
        mine = [choice for chunk in found for choice in chunk["choices"] if choice["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant"}
        assert mine[-1]["finish_reason"] in ("stop", "length", "tool_calls")
        assert mine[-1]["delta"] == {}
        assert [choice["finish_reason"] for choice in mine[:-1]] == [None] * (len(mine) - 1)
        assert all("role" not in choice["delta"] for choice in mine[1:])
        for choice in mine[1:-1]:
            check_delta(choice)


def check_delta(choice: dict[str, Any]) -> None:
    """A chunk in the middle says one thing, or has log-probabilities of what says nothing."""
    delta = choice["delta"]
    assert len(delta) == 1 or (not delta and choice["logprobs"])
    assert delta.get("content") != ""
    assert delta.get("reasoning_content") != ""
    for call in delta.get("tool_calls", ()):
        begins = "id" in call
        assert call.get("type") == ("function" if begins else None)
        assert ("name" in call["function"]) == begins
        assert bool(call["function"]["arguments"]) != begins


def folded(found: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """The choices that the chunks add up to, in the shape of the plain answer; ids of calls are left out."""
    choices: list[dict[str, Any]] = [{"text": "", "thought": "", "calls": [], "logprobs": []} for _ in range(n)]
    for chunk in found:
        for choice in chunk["choices"]:
            mine, delta = choices[choice["index"]], choice["delta"]
            mine["text"] += delta.get("content") or ""
            mine["thought"] += delta.get("reasoning_content") or ""
            mine["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
            mine["finish"] = choice["finish_reason"]
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    assert call["index"] == len(mine["calls"])
                    mine["calls"].append([call["function"]["name"], ""])
                mine["calls"][call["index"]][1] += call["function"]["arguments"]
    return choices


def said(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice of the plain answer, in the shape of `folded`."""
    message = choice["message"]
    calls = [[call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls", ())]
    assert message["content"] is not None or calls
    return {
        "text": message["content"] or "",
        "thought": message.get("reasoning_content", ""),
        "calls": calls,
        "logprobs": (choice["logprobs"] or {}).get("content", []),
        "finish": choice["finish_reason"],
    }


def check(server: RunningServer, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """Whole, streamed, and streamed with usage are one answer. Returns its first choice."""
    n = options.get("n", 1)
    plain = whole(server, model, **options)
    expected = [said(choice) for choice in plain["choices"]]
    assert [choice["index"] for choice in plain["choices"]] == list(range(n))
    streamed = chunks(server, model, **options)
    assert not any("usage" in chunk for chunk in streamed)
    check_shape(streamed, n)
    *counted, last = chunks(server, model, **options, **WITH_USAGE)
    check_shape(counted, n)
    assert last["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):  # how much was cached may differ
        assert last["usage"][name] == plain["usage"][name]
    for found in (streamed, counted):
        assert without_rounding(folded(found, n)) == without_rounding(expected)
    return expected[0]


def without_rounding(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log-probabilities to three places: a cached prompt is computed in other pieces, so its last digits differ."""
    scored: list[dict[str, Any]] = json.loads(json.dumps(choices), parse_float=lambda text: round(float(text), 3))
    return scored


def check_case(server: RunningServer, model: str, case: str) -> None:
    options = CASES[case]
    first = check(server, model, options)
    if "response_format" in options and first["finish"] == "stop":
        jsonschema.validate(json.loads(first["text"]), BOOK)
    for name, arguments in first["calls"]:
        assert name == "keep_book"
        if first["finish"] == "tool_calls":
            jsonschema.validate(json.loads(arguments), BOOK)
    if options.get("tool_choice") == "required":
        assert first["calls"]
    if "logprobs" in options:
        assert first["logprobs"]


@pytest.mark.real
@pytest.mark.parametrize("case", CASES)
def test_a_stream_is_the_plain_answer(real_server: RunningServer, case: str) -> None:
    check_case(real_server, "smollm2", case)


@pytest.mark.parametrize("case", CASES)
def test_a_stream_of_the_fake_model_is_its_plain_answer(fake_server: RunningServer, case: str) -> None:
    check_case(fake_server, "fake", case)


def test_thoughts_come_apart_from_the_answer(tmp_path: Path) -> None:
    """The fake model closes no thought of its own; a grammar closes it, and then answers in the form."""
    add_fake_model(tmp_path, "thinker", chat_template=THINKING, context=1024)
    pull(tmp_path, "thinker")
    with running_server(tmp_path) as server:
        endless = check(server, "thinker", {})
        assert endless["thought"]
        assert endless["text"] == ""
        check(server, "thinker", {"logprobs": True})


def test_an_error_before_the_stream_is_a_status(fake_server: RunningServer) -> None:
    with fake_server.client() as http:
        for stream in (False, True):
            answer = http.post("/v1/chat/completions", json=body("fake", {"stream": stream, "max_tokens": 10**6}))
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/json"
            assert answer.json()["error"]["code"] == "context_length_exceeded"
            assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
