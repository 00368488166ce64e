"""Ollama's own client against a server over a real socket."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ollama import ChatResponse, Client, GenerateResponse, ResponseError

from server import __version__

from ..serving import RunningServer, add_fake_model, pull, running_server

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
GREEDY = {"temperature": 0, "num_predict": 24}
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "endless", answer_tokens=10**9, context=64)
    add_fake_model(home, "plain", chat_template=TEMPLATE)
    add_fake_model(home, "vectors", tasks=("embeddings",), dimension=8, context=32)
    add_fake_model(home, "idle")
    pull(home, "endless", "plain", "vectors", "idle")
    with running_server(home, max_models="8") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url, timeout=30) as found:
        yield found


def test_a_chat_stream_folds_to_the_plain_answer(client: Client) -> None:
    plain = client.chat("fake", HELLO, options=GREEDY)
    parts = list(client.chat("fake", HELLO, options=GREEDY, stream=True))
    assert "".join(part.message.content or "" for part in parts) == plain.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == plain.done_reason
    assert parts[-1].eval_count == plain.eval_count
    assert parts[-1].prompt_eval_count == plain.prompt_eval_count


@pytest.mark.parametrize(
    ("route", "asked", "kind"),
    [("chat", {"messages": HELLO}, ChatResponse), ("generate", {"prompt": "Hello"}, GenerateResponse)],
)
def test_an_answer_has_every_field_that_the_client_knows(
    server: RunningServer, route: str, asked: dict[str, Any], kind: type[ChatResponse | GenerateResponse]
) -> None:
    body = {"model": "fake:latest", "options": GREEDY, "logprobs": True, "top_logprobs": 2, **asked}
    with server.client() as http:
        raw = http.post(f"/api/{route}", json={**body, "stream": False}).json()
        lines = http.post(f"/api/{route}", json=body)
    optional = {"thinking", "context", "image", "completed", "total"}
    assert raw.keys() >= kind.model_fields.keys() - optional
    assert raw["model"] == "fake:latest"
    assert raw["eval_count"] - len(raw["logprobs"]) in {0, 1}  # the token that ends an answer has none
    assert len(raw["logprobs"][0]["top_logprobs"]) == 2
    assert raw["total_duration"] >= raw["prompt_eval_duration"] + raw["eval_duration"]
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["done"] for line in lines.text.splitlines()][-1] is True


def test_generate_answers_through_the_template_and_raw_does_not(client: Client) -> None:
    asked = client.generate("fake", "Hello", system="Be brief.", options=GREEDY)
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    assert asked.response == client.chat("fake", messages, options=GREEDY).message.content
    assert asked.response != client.generate("fake", "Hello", raw=True, options=GREEDY).response
    # A template that writes the words alone makes the same prompt.
    raw = client.generate("plain", "Hello", raw=True, options=GREEDY)
    assert raw.response == client.generate("plain", "Hello", options=GREEDY).response
    parts = client.generate("plain", "Hello", raw=True, options=GREEDY, stream=True)
    assert "".join(part.response or "" for part in parts) == raw.response


@pytest.mark.parametrize("raw", [False, True])
def test_a_limit_beyond_the_context_ends_with_the_context(client: Client, raw: bool) -> None:
    for limit in (-1, 100_000):
        answer = client.generate("endless", "Hello", raw=raw, options={"num_predict": limit, "num_ctx": 131_072})
        assert answer.done_reason == "length"
        assert (answer.prompt_eval_count or 0) + (answer.eval_count or 0) == 64


def test_a_format_holds_the_answer(client: Client) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    answer = client.chat("fake", HELLO, format=schema, options={"num_predict": 40})
    assert json.loads(answer.message.content or "") == {"a": 1}


def test_without_messages_the_model_is_loaded(server: RunningServer, client: Client) -> None:
    assert "idle:latest" not in [model.name for model in client.ps().models]
    assert client.generate("idle").done_reason == "load"
    assert client.chat("idle", []).done_reason == "load"
    (found,) = [model for model in client.ps().models if model.name == "idle:latest"]
    assert found.context_length == 2048
    assert found.size_vram == 0
    assert found.expires_at
    assert found.digest
    with server.client() as http:
        stream = http.post("/api/generate", json={"model": "idle"})
    assert len(stream.text.splitlines()) == 1
    assert stream.json()["done"] is True


def test_models_are_listed_and_described(client: Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"fake:latest", "vectors:latest"} <= listed.keys()
    assert listed["idle:latest"].modified_at
    assert listed["idle:latest"].size
    assert all(model.details and model.details.format == "fake" for model in listed.values())
    shown = client.show("fake:latest")
    assert shown.capabilities
    assert "completion" in shown.capabilities
    assert shown.license
    assert shown.modelinfo is not None
    assert client.show("vectors").capabilities == ["embedding"]


def test_the_template_of_a_loaded_model_is_shown(client: Client) -> None:
    client.generate("plain")
    assert client.show("plain").template == TEMPLATE


def test_vectors(client: Client) -> None:
    answer = client.embed("vectors", ["one", "two"])
    assert [len(vector) for vector in answer.embeddings] == [8, 8]
    assert answer.total_duration
    assert answer.load_duration
    assert answer.prompt_eval_count
    assert client.embed("vectors", "one").embeddings == [answer.embeddings[0]]
    assert client.embeddings("vectors", "one").embedding == answer.embeddings[0]
    assert len(client.embed("vectors", "one", dimensions=4).embeddings[0]) == 4
    assert client.embed("vectors", "").embeddings == []
    assert len(client.embed("vectors", "long " * 100).embeddings) == 1
    with pytest.raises(ResponseError, match="context length"):
        client.embed("vectors", "long " * 100, truncate=False)
    with pytest.raises(ResponseError, match="makes no embeddings"):
        client.embed("fake", "one")


def test_what_clients_probe(server: RunningServer) -> None:
    with server.client() as http:
        assert http.get("/").text == "Cupola is running"
        assert http.head("/").status_code == 200
        assert http.get("/api/version").json() == {"version": __version__}


ERRORS: list[tuple[str, dict[str, Any], int, str]] = [
    ("chat", {"model": "llama3.2:1b"}, 404, "has no version|does not exist"),
    ("chat", {"model": "phi-4-mini"}, 404, "cupola pull phi-4-mini"),
    ("chat", {"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "context length"),
    ("chat", {"messages": [{"role": "user", "content": "a", "images": ["aGk="]}]}, 400, "images"),
    ("chat", {"messages": "Hello"}, 400, "messages"),
    ("chat", {"options": {"mirostat": 1}}, 400, r"options\.mirostat"),
    ("chat", {"messages": [], "keep_alive": "soon"}, 400, "keep_alive"),
    ("chat", {"model": "vectors"}, 400, "writes no text"),
    ("generate", {"prompt": "a", "suffix": "b"}, 400, "suffix"),
    ("show", {"model": "nothing"}, 404, "does not exist"),
    ("show", {"model": "phi-4-mini"}, 404, "not here"),
    ("show", {"model": None}, 400, "model"),
    ("pull", {"model": "nothing"}, 404, "does not exist"),
    ("copy", {}, 404, "no such URL"),
    ("create", {}, 404, "no such URL"),
    ("push", {}, 404, "no such URL"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("route", "change", "status", "message"), ERRORS, ids=lambda value: str(value)[:40])
def test_errors_have_ollamas_shape(
    server: RunningServer, route: str, change: dict[str, Any], status: int, message: str, stream: bool
) -> None:
    with server.client() as http:
        body = {"model": "fake", "messages": HELLO, "stream": stream, **change}
        answer = http.post(f"/api/{route}", json=body)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(answer.json()["error"])


def test_errors_reach_the_client(client: Client, server: RunningServer) -> None:
    with pytest.raises(ResponseError, match="does not exist") as caught:
        client.chat("nothing", HELLO)
    assert caught.value.status_code == 404
    with pytest.raises(ResponseError, match="does not exist"):
        list(client.chat("nothing", HELLO, stream=True))
    with pytest.raises(ResponseError, match="no such URL"):
        client.delete("fake")
    with server.client() as http:
        plain = http.post("/api/chat", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    assert plain.json().keys() == {"error"}


def test_a_conversation_with_tools(client: Client) -> None:
    """Ollama has no way to demand a call, and a fake model makes none by itself: this is about what goes in."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    call = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    said = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
    ]
    answer = client.chat("fake", said, tools=[tool], options=GREEDY)
    assert answer.done
    assert (answer.prompt_eval_count or 0) > (client.chat("fake", HELLO, options=GREEDY).prompt_eval_count or 0)
