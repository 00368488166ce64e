"""models.yaml is read again while streams run."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for

ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 60, "seed": 1}


def edit(home: Path, **fields: dict[str, Any] | None) -> None:
    """Change fields of models of the overlay; None takes the model out."""
    overlay = home / "models.yaml"
    content = yaml.safe_load(overlay.read_text())
    kept = [model for model in content["models"] if fields.get(model["name"], {}) is not None]
    content["models"] = [model | (fields.get(model["name"]) or {}) for model in kept]
    overlay.write_text(yaml.safe_dump(content))


def ask(http: httpx.Client, model: str) -> httpx.Response:
    return http.post("/v1/chat/completions", json=ASK | {"model": model})


def streamed(server: RunningServer, model: str, finished: list[str], failed: list[str]) -> None:
    """One stream to its end: why it ended, or what it got instead of one."""
    body = ASK | {"model": model, "stream": True}
    with server.client() as http, http.stream("POST", "/v1/chat/completions", json=body) as stream:
        events = [line.removeprefix("data: ") for line in stream.iter_lines() if line]
    if stream.status_code == 200 and events[-1] == "[DONE]":
        finished += [choice["finish_reason"] for event in events[:-1] for choice in json.loads(event)["choices"][-1:]][
            -1:
        ]
    else:
        failed.append(events[-1])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        add_fake_model(tmp_path, name, step_seconds=0.02, answer_tokens=100000)
    pull(tmp_path, "one", "two")
    return tmp_path


def test_streams_are_not_dropped_by_reloads(home: Path) -> None:
    finished: list[str] = []
    failed: list[str] = []
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        threads = [
            threading.Thread(target=streamed, args=(server, model, finished, failed)) for model in ["one", "two"] * 8
        ]
        for number, thread in enumerate(threads):
            thread.start()
            edit(home, one={"context_length": 4095 - number}, two={"description": f"the {number}th"})
            changes = http.post("/admin/reload", json={}).json()
            assert changes == {"added": [], "changed": ["one", "two"], "removed": []}
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert finished == ["length"] * 16
        # What concerns no worker left it alone; the other model was loaded anew, and the old ones have gone.
        wait_for(lambda: len(server.residents()) <= 2, 10)


def test_a_worker_that_hangs_is_ended_by_force_after_a_reload_too(home: Path) -> None:
    finished: list[str] = []
    failed: list[str] = []
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        hung = psutil.Process(server.residents()[0]["pid"])
        hung.suspend()
        thread = threading.Thread(target=streamed, args=(server, "one", finished, failed))
        thread.start()
        wait_for(lambda: server.residents()[0]["users"] == 1, 10)
        edit(home, one={"context_length": 4000})
        assert http.post("/admin/reload", json={}).json()["changed"] == ["one"]
        assert [resident["state"] for resident in server.residents()] == ["unloading"]
        assert http.post("/admin/unload", json={"model": "one", "force": True}).json()["unloaded"]
        thread.join(20)
        assert (finished, len(failed)) == ([], 1)
        assert not hung.is_running()
        assert ask(http, "one").status_code == 200


def test_a_model_comes_and_goes(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        first = ask(http, "two")
        assert first.status_code == 200
        add_fake_model(home, "three")
        pull(home, "three")
        edit(home, two=None)
        assert ask(http, "three").status_code == 404
        assert http.post("/admin/reload", json={}).json() == {"added": ["three"], "changed": [], "removed": ["two"]}
        assert ask(http, "three").status_code == 200
        assert ask(http, "two").status_code == 404
        assert [resident["id"] for resident in server.residents()] == ["three@weightless"]


def test_a_bad_file_keeps_the_old_one_and_says_why(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        pid = server.residents()[0]["pid"]
        overlay = home / "models.yaml"
        good = overlay.read_text()
        wrong = ("models: [", good.replace("context_length: 4096", "context_length: -1"), "models: 5")
        for bad in (*wrong, "models: 2026-02-30", "[" * 5000):
            overlay.write_text(bad)
            refused = http.post("/admin/reload", json={})
            assert refused.status_code == 400
            message = refused.json()["error"]["message"]
            assert message.startswith("Nothing was changed: ")
            assert str(overlay) in message
            assert ask(http, "one").status_code == 200
        assert server.residents()[0]["pid"] == pid


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_hangup_has_it_read_again(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        add_fake_model(home, "three")
        pull(home, "three")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: ask(http, "three").status_code == 200, 5)
        (home / "models.yaml").write_text("models: [")
        server.process.send_signal(signal.SIGHUP)
        assert ask(http, "three").status_code == 200
