"""Tokens and templates over HTTP, under the names that vLLM and llama-server give the fields; and names of models."""

from collections.abc import Iterator
from typing import Any

import pytest

from ..serving import RunningServer, add_fake_model, pull, running_server
from .completing import post, refused

CHAT = [{"role": "user", "content": "Hi"}]
RENDERED = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
BEGIN, IM_START, IM_END = 256, 257, 258


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "other", context=128)
    add_fake_model(home, "silent", chat_template=None)
    add_fake_model(home, "absent")
    add_fake_model(home, "late", load_seconds=3.0)
    pull(home, "other", "silent", "late")
    with running_server(home) as running:
        yield running


def ask(server: RunningServer, path: str, **body: Any) -> dict[str, Any]:
    answer = post(server, path, **{"model": "fake", **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_tokenize_as_vllm_has_it(server: RunningServer) -> None:
    said = ask(server, "/tokenize", prompt="Hi<|im_end|>")
    assert said == {"tokens": [BEGIN, 72, 105, IM_END], "count": 4, "max_model_len": 2048}
    assert ask(server, "/tokenize", prompt="Hi", add_special_tokens=False)["tokens"] == [72, 105]
    assert ask(server, "/tokenize", prompt="é", return_token_strs=True)["token_strs"] == [
        "",
        "bytes:\\xc3",
        "bytes:\\xa9",
    ]


def test_tokenize_as_llama_server_has_it(server: RunningServer) -> None:
    assert ask(server, "/tokenize", content="Hi")["tokens"] == [72, 105]
    assert ask(server, "/tokenize", content="Hi", add_special=True)["tokens"] == [BEGIN, 72, 105]
    assert ask(server, "/tokenize", content="<|im_end|>")["tokens"] == [IM_END]
    assert ask(server, "/tokenize", content="<|im_end|>", parse_special=False)["count"] == 10
    assert ask(server, "/tokenize", content="<|begin|>x")["tokens"] == [BEGIN, 120]
    pieces = ask(server, "/tokenize", content="xé", with_pieces=True)["tokens"]
    assert pieces == [{"id": 120, "piece": "x"}, {"id": 195, "piece": [195]}, {"id": 169, "piece": [169]}]


def test_a_conversation_is_tokenised_as_it_would_be_answered(server: RunningServer) -> None:
    said = ask(server, "/tokenize", messages=CHAT)
    assert ask(server, "/apply-template", messages=CHAT) == {"prompt": RENDERED}
    assert said["tokens"] == ask(server, "/tokenize", prompt=RENDERED)["tokens"]
    counted = ask(server, "/v1/chat/completions/input_tokens", messages=CHAT)
    assert counted == {"object": "response.input_tokens", "input_tokens": said["count"]}
    answer = ask(server, "/v1/chat/completions", messages=CHAT, max_tokens=1)
    assert answer["usage"]["prompt_tokens"] == said["count"]


@pytest.mark.parametrize("text", ["", "plain", "Grüße 👍", "a\n\tb", "\x00"])
def test_text_goes_there_and_back(server: RunningServer, text: str) -> None:
    tokens = ask(server, "/tokenize", content=text)["tokens"]
    assert ask(server, "/detokenize", tokens=tokens) == {"prompt": text, "content": text}


def test_a_long_text_is_tokenised_like_a_short_one(server: RunningServer) -> None:
    text = "all the same " * 20_000
    assert ask(server, "/tokenize", content=text)["tokens"] == list(text.encode())


def test_without_a_name_the_only_loaded_model_is_meant(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "other", context=128)
    pull(home, "other")
    with running_server(home) as server:
        status, code, _ = refused(server, "/tokenize", content="x")
        assert (status, code) == (404, "model_not_pulled")  # the default, whose files are not here
        ask(server, "/tokenize", model="other", content="x")
        assert post(server, "/tokenize", content="x").json()["max_model_len"] == 128


ERRORS: list[tuple[str, dict[str, Any], int, str, str | None]] = [
    ("/tokenize", {}, 400, "invalid_value", "prompt"),
    ("/tokenize", {"prompt": "x", "content": "x"}, 400, "invalid_value", "content"),
    ("/tokenize", {"prompt": 3}, 400, "invalid_type", "prompt"),
    ("/tokenize", {"messages": []}, 400, "invalid_value", "messages"),
    ("/tokenize", {"messages": CHAT, "chat_template": "x"}, 400, "unsupported_parameter", "chat_template"),
    ("/tokenize", {"messages": CHAT, "tool_choice": "required"}, 400, "invalid_value", "tool_choice"),
    ("/detokenize", {"tokens": [259]}, 400, "invalid_value", "tokens"),
    ("/detokenize", {"tokens": [-1]}, 400, "invalid_value", "tokens.0"),
    ("/detokenize", {}, 400, "missing_required_parameter", "tokens"),
    ("/apply-template", {}, 400, "missing_required_parameter", "messages"),
    ("/apply-template", {"messages": CHAT, "model": "silent"}, 400, "chat_template_failed", "model"),
    ("/tokenize", {"content": "x", "model": "nobody"}, 404, "model_not_found", "model"),
    ("/tokenize", {"content": "x", "model": "absent"}, 404, "model_not_pulled", "model"),
    ("/v1/chat/completions/input_tokens", {"messages": []}, 400, "invalid_value", "messages"),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "param"), ERRORS)
def test_errors_name_the_field(
    server: RunningServer, path: str, body: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    assert refused(server, path, **{"model": "fake", **body}) == (status, code, param)


NAMES = ["other", "OTHER", "other:latest", "other:1", "other@fake", "other@weightless", "other:1@fake"]
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "x", "max_tokens": 1}),
    ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 1}),
    ("/v1/chat/completions/input_tokens", {"messages": CHAT}),
    ("/tokenize", {"content": "x"}),
    ("/detokenize", {"tokens": [1]}),
    ("/apply-template", {"messages": CHAT}),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_found_by_every_form_of_its_name(server: RunningServer, name: str) -> None:
    for path, body in ROUTES:
        ask(server, path, **body, model=name)
    with server.client() as http:
        assert http.get(f"/v1/models/{name}").json()["id"] == "other"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other+support", "Model 'other' has no adapter 'support'."),
        ("other@fake+support", "Model 'other' has no adapter 'support'."),
        ("other:2", "Model 'other' has no version '2'"),
        ("other@onnx", "Model 'other' has no variant or engine 'onnx'"),
        ("nobody+support", "Model 'nobody' does not exist."),
    ],
)
def test_a_name_that_leads_nowhere_says_which_part(server: RunningServer, name: str, message: str) -> None:
    for path, body in ROUTES:
        answer = post(server, path, **body, model=name)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
        assert answer.json()["error"]["message"].startswith(message)
    with server.client() as http:
        assert http.get(f"/v1/models/{name}").json()["error"]["message"].startswith(message)


def test_models_say_what_they_can_be_asked_for(server: RunningServer) -> None:
    ask(server, "/tokenize", model="other", content="x")
    with server.client() as http:
        models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert set(models) >= {"other", "silent", "fake"}
    assert "absent" not in models
    other = models["other"]
    assert (other["context_length"], other["loaded"], other["engine"]) == (128, True, "fake")
    assert other["quantization"] == "none"
    assert other["capabilities"] == {
        "chat": True,
        "completion": True,
        "tools": False,
        "reasoning": False,
        "json_schema": True,
        "logprobs": True,
        "embeddings": False,
        "rerank": False,
        "vision": False,
    }


def test_the_wait_for_a_load_can_be_bounded(server: RunningServer) -> None:
    with server.client() as http:
        for path, body in ROUTES[2:]:
            answer = http.post(path, json=body | {"model": "late"}, headers={"Prefer": "wait=0.1"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading"), path
            wrong = http.post(path, json=body | {"model": "late"}, headers={"Prefer": "wait=soon"})
            assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "Prefer"), path
