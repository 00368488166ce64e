"""Anthropic's own client against a server over a real socket."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from ..serving import RunningServer, add_fake_model, pull, running_server

ASK: dict[str, Any] = {"model": "fake", "max_tokens": 24, "messages": [{"role": "user", "content": "Hello"}]}
GREEDY: dict[str, Any] = {**ASK, "model": "sure"}
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "sure", {"temperature": 0})
    add_fake_model(home, "endless", {"temperature": 0}, answer_tokens=10**9, context=96)
    add_fake_model(home, "broken", fail_load="The weights are bent.")
    pull(home, "sure", "endless", "broken")
    with running_server(home, max_body_bytes="20000") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=30) as found:
        yield found


def events(text: str) -> list[Any]:
    """The events of a stream; each has what the client's types require, and is called what it says it is."""
    found = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] != "ping":
            assert EVENT.validate_python(event).type == event["type"]
        found.append(event)
    return found


def test_a_message_has_every_field_that_the_client_expects(server: RunningServer) -> None:
    with server.client() as http:
        raw = http.post("/v1/messages", json=GREEDY).json()
    message = Message.model_validate(raw)
    assert message.id.startswith("msg_")
    assert raw["stop_sequence"] is None
    assert (message.type, message.role, message.model) == ("message", "assistant", "sure")
    assert message.usage.output_tokens > 0
    assert message.usage.cache_creation_input_tokens == 0


def test_a_stream_folds_to_the_plain_message(client: Anthropic) -> None:
    plain = client.messages.create(**GREEDY)
    with client.messages.stream(**GREEDY) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in plain.content]
    assert streamed.stop_reason == plain.stop_reason
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    # The one has computed what the other reuses; together it is the same prompt.
    prompts = [one.usage.input_tokens + (one.usage.cache_read_input_tokens or 0) for one in (plain, streamed)]
    assert prompts[0] == prompts[1]
    assert streamed.usage.cache_read_input_tokens


def test_a_stream_is_the_official_events(server: RunningServer) -> None:
    with server.client() as http:
        answer = http.post("/v1/messages?beta=true", json={**GREEDY, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    kinds = [event["type"] for event in found]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert found[0]["message"]["content"] == []
    assert found[0]["message"]["stop_reason"] is None


def test_headers_and_cache_marks_of_official_clients_change_nothing(client: Anthropic) -> None:
    marked = [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]
    plain = client.messages.create(**GREEDY, system="Be brief.")
    answer = client.messages.create(
        **{**GREEDY, "messages": [{"role": "user", "content": marked}]},
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        metadata={"user_id": "someone"},
        extra_headers={"anthropic-beta": "prompt-caching-2024-07-31"},
    )
    assert answer.content == plain.content


def test_a_limit_beyond_the_context_ends_with_the_context(client: Anthropic) -> None:
    cut = client.messages.create(**{**GREEDY, "model": "endless", "max_tokens": 5})
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 5)
    full = client.messages.create(**{**GREEDY, "model": "endless", "max_tokens": 32_000})
    assert full.stop_reason == "model_context_window_exceeded"
    assert full.usage.input_tokens + (full.usage.cache_read_input_tokens or 0) + full.usage.output_tokens == 96


def test_a_stop_sequence_is_named(client: Anthropic) -> None:
    text = client.messages.create(**{**GREEDY, "model": "endless"}).content[0]
    assert text.type == "text"
    stop = text.text[3:6]
    stopped = client.messages.create(**{**GREEDY, "model": "endless"}, stop_sequences=["\x00", stop])
    assert stopped.stop_reason == "stop_sequence"
    assert stopped.stop_sequence == stop
    assert [block.text for block in stopped.content if block.type == "text"] == [text.text[: text.text.index(stop)]]


def test_a_last_message_of_the_assistant_is_continued(client: Anthropic) -> None:
    """The fake says what follows from every token so far, so the continuation of its own words is the rest of them."""
    ask = {**GREEDY, "model": "endless"}
    whole = client.messages.create(**ask).content[0]
    assert whole.type == "text"
    begun = [*ask["messages"], {"role": "assistant", "content": whole.text[:8]}]
    rest = client.messages.create(**{**ask, "messages": begun, "max_tokens": 16}).content[0]
    assert rest.type == "text"
    assert whole.text[:8] + rest.text == whole.text


def test_tokens_are_counted_as_the_answer_counts_them(client: Anthropic) -> None:
    ask: dict[str, Any] = {"model": "sure", "system": "Be brief.", "messages": ASK["messages"]}
    counted = client.messages.count_tokens(**ask)
    answer = client.messages.create(**ask, max_tokens=1)
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


ERRORS: list[tuple[dict[str, Any], type[anthropic.APIStatusError], str, str]] = [
    ({"model": "claude"}, anthropic.NotFoundError, "not_found_error", "Known models: .*smollm2"),
    ({"model": "phi-4-mini"}, anthropic.NotFoundError, "not_found_error", "cupola pull phi-4-mini"),
    ({"model": "broken"}, anthropic.InternalServerError, "api_error", "The weights are bent"),
    ({"messages": []}, anthropic.BadRequestError, "invalid_request_error", "messages"),
    ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens"),
    ({"temperature": 1.5}, anthropic.BadRequestError, "invalid_request_error", "temperature"),
    ({"thinking": {"type": "sometimes"}}, anthropic.BadRequestError, "invalid_request_error", "thinking"),
    ({"mcp_servers": [{"name": "x"}]}, anthropic.BadRequestError, "invalid_request_error", "mcp_servers"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
        anthropic.BadRequestError,
        "invalid_request_error",
        r"messages\.0\.content\.0: .*leave out blocks of type .*image",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
        anthropic.BadRequestError,
        "invalid_request_error",
        "a message of the user cannot have a block of type 'tool_use'",
    ),
    (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        anthropic.BadRequestError,
        "invalid_request_error",
        r"tools\.0\.type: this server runs no tools itself",
    ),
    ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError, "invalid_request_error", "no tools to choose"),
    (
        {"messages": [{"role": "user", "content": "word " * 1500}]},
        anthropic.BadRequestError,
        "invalid_request_error",
        "context length",
    ),
    (
        {"messages": [{"role": "user", "content": "word " * 9000}]},
        anthropic.RequestTooLargeError,
        "request_too_large",
        "20000 bytes",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("change", "kind", "name", "message"), ERRORS, ids=[str(case[0])[:40] for case in ERRORS])
def test_errors_have_anthropics_shape(
    client: Anthropic,
    change: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    name: str,
    message: str,
    stream: bool,
) -> None:
    with pytest.raises(kind, match=message) as caught:
        client.post("/v1/messages", body={**ASK, **change, "stream": stream}, cast_to=object)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == name


def test_errors_of_the_border_have_anthropics_shape(server: RunningServer) -> None:
    def kind(answer: httpx.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["error"]["type"]

    with server.client() as http:
        assert kind(http.post("/v1/messages", json={"model": "fake"})) == (400, "invalid_request_error")
        assert kind(http.get("/v1/messages")) == (405, "invalid_request_error")
        assert kind(http.post("/v1/messages/batches", json={})) == (404, "not_found_error")
        plain = http.post("/v1/messages", content=b"{}", headers={"content-type": "text/plain"})
        assert kind(plain) == (415, "invalid_request_error")
        foreign = http.post("/v1/messages", json=ASK, headers={"host": "evil.example"})
        assert kind(foreign) == (403, "permission_error")
        parts = iter([b'{"model": "fake", "x": "', b"y" * 30_000, b'"}'])
        chunked = http.post("/v1/messages", content=parts, headers={"content-type": "application/json"})
        assert kind(chunked) == (413, "request_too_large")
        assert "code" in http.post("/v1/chat/completions", json={"model": "fake"}).json()["error"]


def test_a_demanded_tool_is_called(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
    ask: dict[str, Any] = {
        **GREEDY,
        "max_tokens": 400,
        "tools": [{"name": "weather", "input_schema": {**schema, "additionalProperties": False}}],
        "tool_choice": {"type": "tool", "name": "weather"},
    }
    plain = client.messages.create(**ask)
    (block,) = [block for block in plain.content if block.type == "tool_use"]
    assert plain.stop_reason == "tool_use"
    assert block.name == "weather"
    assert block.input["unit"] in {"C", "F"}
    with client.messages.stream(**ask) as stream:
        streamed = stream.get_final_message()
    (again,) = [block for block in streamed.content if block.type == "tool_use"]
    assert (again.name, again.input) == (block.name, block.input)
    answered = [
        *ask["messages"],
        {"role": "assistant", "content": [one.to_dict() for one in plain.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "rain"}]},
    ]
    after = client.messages.create(**{**ask, "messages": answered, "tool_choice": {"type": "none"}, "max_tokens": 8})
    assert after.stop_reason in {"end_turn", "max_tokens"}
