"""Answers of a form from a model that thinks first: the form holds for what comes after the thought."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from server.runners.fake import CHAT_TEMPLATE

from ..serving import RunningServer, add_fake_model, pull, running_server

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 120, "temperature": 1}
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "n": {"type": "number"}},
    "required": ["text", "n"],
}
FORM = {"type": "json_schema", "json_schema": {"name": "form", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "note", "parameters": SCHEMA}}
INSIDE = CHAT_TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
MAY = CHAT_TEMPLATE + "{# <think> #}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    for name, template in (("inside", INSIDE), ("may", MAY)):
        add_fake_model(home, name, chat_template=template)
    pull(home, "inside", "may")
    with running_server(home) as running:
        yield running


def answer(server: RunningServer, model: str, **fields: Any) -> dict[str, Any]:
    response = post(server, model, **fields)
    assert response.status_code == 200, response.text
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


def post(server: RunningServer, model: str, **fields: Any) -> httpx.Response:
    with server.client() as http:
        return http.post("/v1/chat/completions", json=ASK | {"model": model} | fields)


@pytest.mark.parametrize("model", ["inside", "may"])
@pytest.mark.parametrize("seed", range(3))
def test_a_document_is_whole(server: RunningServer, model: str, seed: int) -> None:
    """The fake model would think, and write text, for ever."""
    choice = answer(server, model, response_format=FORM, seed=seed)
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    assert choice["message"].get("reasoning_content") or model == "may"


@pytest.mark.parametrize("model", ["inside", "may"])
def test_a_forced_call_is_whole(server: RunningServer, model: str) -> None:
    # A call is about 90 tokens of a byte each, marks and all.
    choice = answer(server, model, tools=[TOOL], tool_choice="required", seed=1, max_tokens=400)
    assert choice["finish_reason"] == "tool_calls"
    jsonschema.validate(json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]), SCHEMA)


@pytest.mark.parametrize("model", ["inside", "may"])
def test_a_grammar_of_a_user_may_use_names_of_ours(server: RunningServer, model: str) -> None:
    grammar = '?start : thought\nthought: head_9\nhead_9: "yes"\n'
    choice = answer(server, model, guided_grammar=grammar, temperature=0)
    if model == "may":  # likelier than a thought, for the fake model
        assert choice["message"]["content"] == "yes"
    else:  # which it would not end
        assert choice["finish_reason"] == "length"


@pytest.mark.parametrize("model", ["inside", "may"])
def test_a_grammar_without_a_start_is_refused(server: RunningServer, model: str) -> None:
    refused = post(server, model, guided_grammar='begin: "yes"')
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "guided_grammar"
    assert "no start rule" in refused.json()["error"]["message"]
