"""Foundry Local's routes: the shapes that its clients for Python, C# and JavaScript take, and what they ask for.

The three parsers of the download are written here by their rules, in Python.
"""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.api.foundry.catalogue import estimated
from server.api.foundry.downloading import Gauge
from server.models.progress import Progress

from ..models.hub import Hub, running_hub
from ..serving import RunningServer, add_fake_model, pull, running_server

REPO = "acme/tiny"
WEIGHTS = b"{}".ljust(1_500_000)  # a fake model without options
AT_ONCE = 0.05  # seconds
HELLO = [{"role": "user", "content": "Hello"}]
REQUIRED = {
    "name", "displayName", "modelType", "providerType", "uri", "version", "promptTemplate", "publisher", "task",
    "runtime", "fileSizeMb", "modelSettings", "alias", "supportsToolCalling", "license", "licenseDescription",
    "parentModelUri", "maxOutputTokens",
}  # fmt: skip
OLD_PROVIDERS = {"CPUExecutionProvider", "WebGpuExecutionProvider", "CUDAExecutionProvider", "QNNExecutionProvider"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "plain")
    add_fake_model(home, "endless", answer_tokens=10**9, step_seconds=0.02)
    add_fake_model(home, "absent")
    add_fake_model(home, "named-generic-cpu")  # a model may be called so
    add_fake_model(home, "vectors", tasks=("embeddings",), dimension=8)
    pull(home, "plain", "endless", "named-generic-cpu", "vectors")
    with running_server(home, max_models="8") as running:
        yield running


@pytest.fixture(autouse=True)
def _unloaded(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        get(request.getfixturevalue("server"), "/openai/unloadall")


def get(server: RunningServer, path: str, status: int = 200) -> Any:
    """The JSON of an answer; None for an empty body, as the SDK reads it."""
    with server.client() as http:
        answer = http.get(path)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.text else None


def test_the_catalogue_is_a_bare_array_of_rows_in_camel_case(server: RunningServer) -> None:
    rows = get(server, "/foundry/list")
    assert isinstance(rows, list)
    for row in rows:
        assert row.keys() >= REQUIRED
        assert isinstance(row["version"], str)
        assert type(row["fileSizeMb"]) is int
        assert type(row["supportsToolCalling"]) is bool
        assert isinstance(row["promptTemplate"], dict)  # 0.3.1 refuses null
        assert row["runtime"].keys() == {"deviceType", "executionProvider"}
        assert row["runtime"]["deviceType"] in {"CPU", "GPU", "NPU"}
        assert row["runtime"]["executionProvider"] in OLD_PROVIDERS
        assert re.fullmatch(r"[^:]+-(generic|cuda|qnn|openvino|vitis)-(cpu|gpu|npu):1", row["name"])
    named = {row["name"]: row for row in rows}
    assert len(named) == len(rows)
    assert named["plain-generic-cpu:1"]["alias"] == "plain"
    assert named["vectors-generic-cpu:1"]["task"] == "embeddings"
    phi = named["phi-4-mini-instruct-generic-cpu:1"]
    assert (phi["alias"], phi["license"], phi["supportsToolCalling"]) == ("phi-4-mini", "MIT", True)
    assert 1500 < phi["fileSizeMb"] < 4000


def test_the_status_says_where_models_are(server: RunningServer) -> None:
    status = get(server, "/openai/status")
    assert status["modelDirPath"] == str(server.home)
    assert status["endpoints"] == [server.url]
    newer = get(server, "/status")
    assert newer == {"endpoints": [server.url], "modelCachePath": str(server.home), "pid": server.process.pid}


def test_lists_are_of_ids(server: RunningServer) -> None:
    cached = get(server, "/openai/models")
    assert {"plain-generic-cpu:1", "fake-generic-cpu:1", "named-generic-cpu-generic-cpu:1"} <= set(cached)
    assert "absent-generic-cpu:1" not in cached
    assert get(server, "/openai/loadedmodels") == []


@pytest.mark.parametrize(
    "name", ["plain-generic-cpu:1", "plain-generic-cpu", "PLAIN-Generic-CPU:1", "plain", "plain:1", "plain@weightless"]
)
def test_a_model_is_loaded_and_unloaded_by_any_of_its_names(server: RunningServer, name: str) -> None:
    """The SDK sends an empty `ep`."""
    assert get(server, f"/openai/load/{name}?ttl=600&ep=") is None
    assert get(server, "/openai/loadedmodels") == ["plain-generic-cpu:1"] == get(server, "/models/loaded")
    assert get(server, f"/openai/unload/{name}?force=false") is None
    assert get(server, "/openai/loadedmodels") == []
    assert get(server, f"/openai/unload/{name}?force=true") is None, "one that is not loaded stays so"


def test_what_csharp_sends(server: RunningServer) -> None:
    assert get(server, "/openai/load/plain-generic-cpu:1?timeout=600") is None
    assert get(server, "/openai/unloadall") is None
    assert get(server, "/openai/loadedmodels") == []


def test_a_model_whose_own_name_ends_like_a_place(server: RunningServer) -> None:
    get(server, "/openai/load/named-generic-cpu")
    assert get(server, "/openai/loadedmodels") == ["named-generic-cpu-generic-cpu:1"]


def test_what_cannot_be_loaded(server: RunningServer) -> None:
    """The SDK looks for these words, and has a sentence of its own then."""
    absent = get(server, "/openai/load/absent-generic-cpu:1", 404)
    assert "No OpenAIService provider found for modelName" in absent["error"]["message"]
    assert get(server, "/models/load/absent", 400)["error"]["message"].startswith("Model not cached")
    for path in ("/openai/load/no-such", "/openai/unload/no-such", "/models/load/no-such", "/models/unload/no-such"):
        assert get(server, path, 404)["error"]["code"] == "model_not_found"
    assert "does not run on a cuda-gpu here" in get(server, "/openai/load/plain-cuda-gpu:1", 404)["error"]["message"]
    assert "has no version" in get(server, "/openai/load/plain-generic-cpu:2", 404)["error"]["message"]
    assert get(server, "/openai/load/plain?ttl=soon", 400)["error"]["param"] == "ttl"


def test_the_newer_service_says_what_it_did(server: RunningServer) -> None:
    said = [get(server, f"/models/{verb}/plain")["status"] for verb in ("load", "load", "unload", "unload")]
    assert said == ["loaded", "already_loaded", "unloaded", "not_loaded"]


def test_a_model_in_use_stays_unless_forced(server: RunningServer) -> None:
    body = {"model": "endless", "messages": HELLO, "stream": True}
    with server.client() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert get(server, "/openai/unload/endless?force=false", 409)["error"]["code"] == "model_in_use"
        assert get(server, "/models/unload/endless", 409)["error"]["code"] == "model_in_use"
        get(server, "/openai/unloadall")
        assert get(server, "/openai/loadedmodels") == ["endless-generic-cpu:1"]
        assert get(server, "/openai/unload/endless?force=true") is None
        assert get(server, "/openai/loadedmodels") == []


def test_ids_serve_where_a_model_is_named(server: RunningServer) -> None:
    """By alias or id, loaded or not."""
    answers = []
    with server.client() as http:
        for model in ("plain", "plain-generic-cpu:1"):
            body = {"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 8}
            answers.append(http.post("/v1/chat/completions", json=body).json()["choices"])
        counts = [
            http.post("/v1/chat/completions/tokenizer/encode/count", json={"model": model, "messages": HELLO}).json()
            for model in ("plain", "plain-generic-cpu:1")
        ]
        usual = http.post("/v1/chat/completions/input_tokens", json={"model": "plain", "messages": HELLO}).json()
    assert answers[0] == answers[1]
    assert counts == [{"tokenCount": usual["input_tokens"]}] * 2
    assert get(server, "/v1/models/plain-generic-cpu:1")["id"] == "plain"


def test_devices_are_told_and_not_chosen(server: RunningServer) -> None:
    device = get(server, "/openai/getgpudevice")
    assert device in {-1, 0}
    assert get(server, f"/openai/setgpudevice/{device}") is None
    assert "CUDA_VISIBLE_DEVICES" in get(server, "/openai/setgpudevice/7", 400)["error"]["message"]


def test_what_is_refused_says_why(server: RunningServer) -> None:
    with server.client() as http:
        told = http.post("/openai/register", json={"TypeName": "OpenAI", "ModelName": "a", "BaseUri": "http://b"})
        ended = http.post("/shutdown", json={})
    assert told.status_code == 400
    assert "cupola add" in told.json()["error"]["message"]
    assert ended.status_code == 403
    assert get(server, "/health/live")


# ------------------------------------------------------------------------------------------------------ downloads


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.repos[REPO] = {"tiny.json": WEIGHTS}
        yield running


def with_a_hub(hub: Hub, home: Path, *, offline: str) -> Any:
    source = {"type": "huggingface", "repo": REPO, "files": ["tiny.json"]}
    variant = {"name": "weightless", "format": "fake", "source": source}
    model = {"name": "tiny", "licence": "MIT", "context_length": 512, "variants": [variant]}
    (home / "models.yaml").write_text(yaml.safe_dump({"models": [model]}))
    return running_server(home, hf_endpoint=hub.url, offline=offline)


def reads(server: RunningServer, name: str) -> list[bytes]:
    """A download as JavaScript's client is given it: what comes at once, in one piece."""
    found: list[bytes] = []
    before = 0.0
    for part in chunks(server, name):
        now = time.monotonic()
        if found and now - before < AT_ONCE:
            found[-1] += part
        else:
            found.append(part)
        before = now
    return found


def chunks(server: RunningServer, name: str) -> Iterator[bytes]:
    """The chunks of a download."""
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps(
        {"model": {"Name": name, "Uri": "cupola://x", "Path": None}, "token": None, "IgnorePipeReport": True}
    )
    head = f"POST /openai/download HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json"
    with socket.create_connection((host, int(port)), 30) as connection, connection.makefile("rb") as answer:
        connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        while answer.readline() != b"\r\n":
            pass
        while size := int(answer.readline(), 16):
            yield answer.read(size)
            assert answer.readline() == b"\r\n"


def as_python(text: str) -> tuple[list[float], dict[str, Any]]:
    percents, final = [], ""
    for line in text.splitlines():
        if final or line.startswith("{"):
            final += line
        elif found := re.search(r"(\d+(?:\.\d+)?)%", line):
            percents.append(float(found[1]))
    assert final.endswith("}")
    return percents, json.loads(final)


def as_csharp(text: str) -> tuple[list[float], dict[str, Any]]:
    percents, ended, final = [], False, ""
    for line in text.splitlines():
        if line.startswith("Total") and "Downloading" in line and "%" in line:
            percents.append(float(line.split("%")[0].split()[-1]))
        elif "[DONE]" in line or "All Completed" in line:
            ended = True
        elif ended:
            final += line
    return percents, json.loads(final)


def as_javascript(parts: list[bytes]) -> tuple[list[int], dict[str, Any]]:
    percents, final = [0], ""
    for part in map(bytes.decode, parts):
        if final or part.startswith("{"):
            final += part
        elif found := re.search(r"(\d+(?:\.\d+)?)%", part):
            percents += [int(float(found[1]))] if int(float(found[1])) > percents[-1] else []
    return percents[1:], json.loads(final)


def test_all_three_clients_follow_a_download(hub: Hub, tmp_path: Path) -> None:
    hub.faults.pause_at = 600_000
    with with_a_hub(hub, tmp_path, offline="false") as server:
        found = []
        for part in chunks(server, "tiny-generic-cpu:1"):
            found.append(part)
            if hub.reached.wait(10):
                hub.go_on.set()
        text = b"".join(found).decode()
        for percents, result in (as_python(text), as_csharp(text)):
            assert percents == sorted(percents)
            assert percents[-1] == 100
            assert result == {"success": True, "errorMessage": None}
        assert all(part.endswith(b"\n") for part in found[:-1])
        for _ in range(3):  # it is here: all of it comes at once, but for the end
            assert as_javascript(reads(server, "tiny")) == ([100], {"success": True, "errorMessage": None})
        assert any(0 < percent < 100 for percent in as_python(text)[0])
        assert "tiny-generic-cpu:1" in get(server, "/openai/models")
        assert get(server, "/openai/upgradable/tiny") == {"upgradable": False}
        assert as_python(b"".join(chunks(server, "tiny")).decode())[1]["success"], "again: it is here"


def test_it_joins_a_pull_that_runs(hub: Hub, tmp_path: Path) -> None:
    hub.faults.pause_at = 600_000
    with with_a_hub(hub, tmp_path, offline="false") as server, ThreadPoolExecutor() as threads, server.client() as http:
        first = threads.submit(http.post, "/api/pull", json={"model": "tiny", "stream": False})
        assert hub.reached.wait(10)
        parts = chunks(server, "tiny-generic-cpu:1")
        assert b"Downloading tiny.json" in next(parts)
        hub.go_on.set()
        assert json.loads(list(parts)[-1])["success"]
        assert first.result(10).json() == {"status": "success"}
    assert hub.bodies("tiny.json") == len(WEIGHTS)


def test_failures_end_as_clients_read_them(hub: Hub, tmp_path: Path) -> None:
    """Python's client reads no status, JavaScript's no body of another status than 200, and so both say it."""
    hub.repos.clear()
    with with_a_hub(hub, tmp_path, offline="false") as server, server.client() as http:
        lost = http.post("/openai/download", json={"model": {"Name": "tiny"}})
        unknown = http.post("/openai/download", json={"model": {"Name": "nothing"}})
    assert (lost.status_code, unknown.status_code) == (502, 404)
    for answer in (lost, unknown):
        percents, result = as_python(answer.text)
        assert percents == []
        assert result["success"] is False
        assert result["errorMessage"] == result["error"]["message"]


def test_a_failure_in_the_midst_is_the_end(hub: Hub, tmp_path: Path) -> None:
    hub.faults.corrupt, hub.faults.pause_at = True, 600_000
    with with_a_hub(hub, tmp_path, offline="false") as server:
        parts = chunks(server, "tiny")
        assert b"Downloading tiny.json" in next(parts)
        hub.go_on.set()
        *_, last = parts
    result = json.loads(last)
    assert result["success"] is False
    assert result["errorMessage"] == result["error"], "where Python's client looks, and where JavaScript's does"
    assert "tiny.json" in result["error"]


def test_offline_nothing_is_fetched(hub: Hub, tmp_path: Path) -> None:
    with with_a_hub(hub, tmp_path, offline="true") as server, server.client() as http:
        answer = http.post("/openai/download", json={"model": {"Name": "tiny"}})
    assert answer.status_code == 502
    assert answer.json()["success"] is False
    assert "offline" in answer.json()["errorMessage"].lower()
    assert not hub.seen


def test_the_gauge_never_falls_and_ends_at_the_end() -> None:
    gauge = Gauge(expected=1000)
    steps = [
        Progress("small.json", 10, 10, "downloading"),  # whole, but one of several
        Progress("big.bin", 490, 990, "downloading"),
        Progress("big.bin", 990, 990, "downloading"),
        Progress("big.bin", 100, 990, "verifying"),
    ]
    assert [gauge.percent(step) for step in steps] == [1.0, 50.0, 99.99, 99.99]
    assert Gauge(0).percent(Progress("a", 5, None, "converting")) == 0
    assert Gauge(0).percent(Progress("a", 5, None, "downloading")) == 99.99


@pytest.mark.parametrize(
    ("quantization", "size"), [("Q4_K_M", 562_500_000), ("int8", 1_062_500_000), ("none", 2_000_000_000)]
)
def test_sizes_that_nobody_counted_are_estimated(quantization: str, size: int) -> None:
    assert estimated(10**9, quantization) == size
