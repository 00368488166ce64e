"""`model: "base+adapter"` over HTTP: one worker serves the model and all its adapters."""

import json
from collections.abc import Iterator

import httpx
import pytest
import yaml

from server.models.adapters import AddedAdapter
from server.models.overlay import add_adapter

from ..serving import RunningServer, add_fake_model, pull, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "base", answer_tokens=30)
    add_fake_model(home, "plain")
    (home / "adapters").mkdir()
    for salt, name in enumerate(("support", "legal"), 1):
        (home / "adapters" / f"{name}.json").write_text(json.dumps({"salt": salt}))
        add_adapter(
            home / "models.yaml", AddedAdapter(name=name, model="base", files={"fake": f"adapters/{name}.json"})
        )
    missing = AddedAdapter(name="missing", model="base", files={"fake": "adapters/missing.json"})
    add_adapter(home / "models.yaml", missing)
    elsewhere = AddedAdapter(name="elsewhere", model="base", files={"gguf": "adapters/elsewhere.gguf"})
    add_adapter(home / "models.yaml", elsewhere)
    content = yaml.safe_load((home / "models.yaml").read_text())
    content["aliases"] = {"helper": "base"}
    (home / "models.yaml").write_text(yaml.safe_dump(content))
    pull(home, "base", "plain")
    with running_server(home) as running:
        yield running


def ask(http: httpx.Client, model: str, prompt: str = "Hello") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 20}
    return http.post("/v1/chat/completions", json=body)


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    content: str = answer.json()["choices"][0]["message"]["content"]
    return content


def test_one_worker_answers_with_every_adapter(server: RunningServer) -> None:
    with server.client() as http:
        answers = {name: ask(http, name) for name in ("base", "base+support", "base+legal", "base", "base+support")}
        again = ask(http, "base+support")
        assert len({text(answer) for answer in answers.values()}) == 3
        assert text(again) == text(answers["base+support"])
        assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        assert {name: answer.json()["model"] for name, answer in answers.items()} == {name: name for name in answers}
        assert text(ask(http, "Helper:latest@fake+legal")) == text(answers["base+legal"])
        completion = {"model": "base+legal", "prompt": "Hello", "temperature": 0, "max_tokens": 20}
        plain = http.post("/v1/completions", json=completion | {"model": "base"}).json()["choices"][0]["text"]
        assert http.post("/v1/completions", json=completion).json()["choices"][0]["text"] != plain
    assert [resident["id"] for resident in server.residents()] == ["base@weightless"]


def test_adapters_are_listed_beside_their_model(server: RunningServer) -> None:
    with server.client() as http:
        found = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
        one = http.get("/v1/models/helper+support").json()
    assert {"base", "base+support", "base+legal", "base+missing", "plain"} <= found.keys()
    assert "base+elsewhere" not in found
    assert (found["base"]["root"], found["base"]["parent"]) == ("base", None)
    assert (found["base+support"]["root"], found["base+support"]["parent"]) == ("base", "base")
    assert one["id"] == "base+support"
    assert found["base+support"]["aliases"] == ["helper+support"]


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        (
            "base+suport",
            404,
            "Model 'base' has no adapter 'suport'. Known adapters: support, legal, missing, elsewhere.",
        ),
        ("plain+support", 404, "Model 'plain' has no adapter 'support'."),
        ("base+elsewhere", 404, "Adapter 'elsewhere' of 'base' is for gguf only."),
        ("base+missing", 500, "The fake engine has no weights that missing.json could adapt."),
    ],
)
def test_what_there_is_not_is_said(model: str, status: int, message: str, server: RunningServer) -> None:
    with server.client() as http:
        answer = ask(http, model)
        assert (answer.json()["error"]["message"], answer.status_code) == (message, status)
        assert ask(http, "base").status_code == 200
