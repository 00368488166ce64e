"""How long a model stays: idle times, pins, and what requests say of it."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ..metrics.scraping import Scrape
from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for

ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def ask(http: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json=ASK | {"model": model} | fields)


def states(server: RunningServer) -> dict[str, str]:
    return {resident["id"].partition("@")[0]: resident["state"] for resident in server.residents()}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("staying")
    for name in ("one", "two", "three"):
        add_fake_model(home, name)
    add_fake_model(home, "slow", load_seconds=3.0)
    add_fake_model(home, "lasting", answer_tokens=1000, step_seconds=0.05)
    pull(home, "one", "two", "three", "slow", "lasting")
    return home


def test_first_the_cache_goes_and_then_the_model(home: Path) -> None:
    with running_server(home, keep_cache="0.3", keep_alive="1.5") as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        assert states(server) == {"one": "loaded"}
        wait_for(lambda: states(server) == {"one": "asleep"}, 1.2)
        assert ask(http, "one").status_code == 200
        assert states(server) == {"one": "loaded"}
        (resident,) = server.residents()
        assert 0 < resident["unload_in"] <= 1.5
        pid = resident["pid"]
        wait_for(lambda: not states(server), 4)
        assert not psutil.pid_exists(pid)
        assert ask(http, "one").status_code == 200  # it comes back when it is asked for


def test_a_request_says_how_long_its_model_stays(home: Path) -> None:
    with running_server(home, keep_alive="0.5") as server, server.client() as http:
        assert ask(http, "one", keep_alive=-1).status_code == 200
        assert ask(http, "two").status_code == 200
        assert ask(http, "three", keep_alive="1h").status_code == 200
        wait_for(lambda: "two" not in states(server), 4)
        kept = {resident["id"]: resident["unload_in"] for resident in server.residents()}
        assert kept.pop("one@weightless") is None
        assert 3500 < kept.pop("three@weightless") <= 3600
        assert ask(http, "one", keep_alive=0).status_code == 200
        wait_for(lambda: set(states(server)) == {"three"}, 4)
        assert ask(http, "one", keep_alive="soon").status_code == 400


def test_what_a_request_said_ends_with_its_model(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one", keep_alive=0).status_code == 200
        wait_for(lambda: not states(server))
        line = http.post("/api/generate", json={"model": "two", "keep_alive": 0, "stream": False}).json()
        assert line["done_reason"] == "unload"  # it was not even loaded
        for model in ("one", "two"):
            assert ask(http, model).status_code == 200
        assert all(resident["unload_in"] > 200 for resident in server.residents())
        assert set(states(server)) == {"one", "two"}


def test_a_model_that_another_uses_is_kept_for_that_one_only(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        body = ASK | {"model": "lasting", "stream": True, "max_tokens": 30}
        with http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            assert ask(http, "lasting", keep_alive=0).status_code == 200
            assert states(server) == {"lasting": "loaded"}
            assert "data: [DONE]" in list(lines)
        wait_for(lambda: not states(server))


def test_a_load_that_nobody_waited_for_leaves_too(home: Path) -> None:
    with running_server(home, keep_alive="0.3") as server, server.client() as http:
        refused = http.post("/v1/chat/completions", json=ASK | {"model": "slow"}, headers={"Prefer": "wait=0"})
        assert refused.status_code == 503
        wait_for(lambda: not states(server), 30)


def test_a_model_whose_worker_died_is_not_among_the_loaded(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        psutil.Process(server.residents()[0]["pid"]).kill()
        wait_for(lambda: not states(server))
        found = Scrape.of(http.get("/metrics").text)
        assert found.value("cupola_worker_restarts_total", model="one", cause="killed by SIGKILL") == 1
        assert ask(http, "one").status_code == 200


def test_ollama_says_it_in_its_own_way(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        assert http.post("/api/generate", json={"model": "one", "keep_alive": "2m"}).status_code == 200
        (resident,) = server.residents()
        assert 100 < resident["unload_in"] <= 120
        line = http.post("/api/generate", json={"model": "one", "keep_alive": 0, "stream": False}).json()
        assert (line["done"], line["done_reason"]) == (True, "unload")
        assert server.residents() == []


def test_what_models_yaml_says_of_a_model(tmp_path: Path) -> None:
    add_fake_model(tmp_path, "brief")
    overlay = tmp_path / "models.yaml"
    overlay.write_text(overlay.read_text().replace("name: brief", "name: brief\n  keep_alive: 400ms"))
    pull(tmp_path, "brief")
    with running_server(tmp_path) as server, server.client() as http:
        assert ask(http, "brief").status_code == 200
        wait_for(lambda: not states(server), 4)


def test_a_pinned_model_stays_and_is_there_from_the_start(home: Path) -> None:
    with (
        running_server(home, keep_alive="0.3", keep_cache="0.1", pinned="one", max_models="1") as server,
        server.client() as http,
    ):
        wait_for(lambda: states(server) == {"one": "loaded"}, 10)
        time.sleep(0.8)
        assert states(server) == {"one": "loaded"}
        refused = ask(http, "two")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
        assert "one@weightless is pinned" in refused.json()["error"]["message"]


def test_a_scrape_or_a_check_wakes_nobody(home: Path) -> None:
    with running_server(home, keep_cache="0.2", keep_alive="1.2") as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        wait_for(lambda: states(server) == {"one": "asleep"}, 3)
        deadline = time.monotonic() + 4
        while states(server) and time.monotonic() < deadline:
            for path in ("/health", "/health/ready", "/health/live", "/v1/models", "/admin/models", "/api/ps"):
                assert http.get(path).status_code == 200
            assert states(server) in ({"one": "asleep"}, {"one": "unloading"}, {})
        assert states(server) == {}


def test_loads_do_not_wait_for_one_another(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one").status_code == 200
        refused = http.post("/v1/chat/completions", json=ASK | {"model": "slow"}, headers={"Prefer": "wait=0"})
        assert refused.status_code == 503
        began = time.monotonic()
        assert ask(http, "one").status_code == 200
        assert ask(http, "two").status_code == 200
        assert time.monotonic() - began < 2.5
        assert states(server)["slow"] == "loading"
        assert ask(http, "slow").status_code == 200
        assert len(server.residents()) == 3


def test_what_is_in_use_is_unloaded_by_force_alone(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        body = ASK | {"model": "lasting", "stream": True, "max_tokens": 400}
        with http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            refused = http.post("/admin/unload", json={"model": "lasting"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
            assert http.post("/admin/unload", json={"model": "one"}).json() == {"model": "one", "unloaded": False}
            forced = http.post("/admin/unload", json={"model": "lasting", "force": True})
            assert forced.json() == {"model": "lasting", "unloaded": True}
            assert any("worker_died" in line for line in lines)
        assert server.residents() == []
        loaded = http.post("/admin/load", json={"model": "lasting", "keep_alive": "10m"}).json()
        assert (loaded["state"], loaded["users"]) == ("loaded", 0)
        assert http.post("/admin/load", json={"model": "nothing"}).status_code == 404
        assert http.post("/admin/load", json={"model": "one", "keep_alive": "x"}).status_code == 400
        assert http.post("/admin/load", json={"model": "one", "ttl": 1}).status_code == 400


def test_while_all_are_in_use_a_load_waits_and_then_says_why(home: Path) -> None:
    with running_server(home, max_models="1", room_seconds="1.0") as server, server.client() as http:
        body = ASK | {"model": "lasting", "stream": True, "max_tokens": 80}
        with http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            refused = ask(http, "one")
            assert refused.status_code == 503
            assert "lasting@weightless is in use" in refused.json()["error"]["message"]
            for _ in lines:
                pass
        assert ask(http, "one").status_code == 200
        assert states(server) == {"one": "loaded"}


def test_a_budget_that_holds_nothing_is_said_and_not_waited_for(home: Path) -> None:
    with running_server(home, memory="50MB", room_seconds="30") as server, server.client() as http:
        began = time.monotonic()
        refused = ask(http, "one")
        assert time.monotonic() - began < 10
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_enough_memory")
        assert "of 50,000,000 that may be used, 0 are free. Raise CUPOLA_MEMORY" in refused.json()["error"]["message"]


def test_who_waits_for_a_load_that_is_ended_is_told(home: Path) -> None:
    with running_server(home) as server, server.client() as http, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, http, "slow")
        wait_for(lambda: states(server) == {"slow": "loading"}, 10)
        with server.client() as other:
            assert other.post("/admin/unload", json={"model": "slow", "force": True}).json()["unloaded"]
        told = waiting.result(10)
        assert (told.status_code, told.json()["error"]["code"]) == (503, "model_loading")
