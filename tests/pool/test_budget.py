"""Several models in memory that holds fewer: on real engines."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from ..metrics.scraping import Scrape
from ..serving import running_server
from ..waiting import wait_for

MODELS = ("smollm2@llama", "smollm2@onnx", "smollm2@genai")
MEGABYTE = 1 << 20


def complete(http: httpx.Client, model: str, **fields: object) -> httpx.Response:
    return http.post("/v1/completions", json={"model": model, "prompt": "Once", "max_tokens": 8} | fields)


def taken(server: psutil.Process) -> int:
    """Resident bytes of the server and of all its children."""
    total = 0
    for process in (server, *server.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
    return total


@contextmanager
def watched(server: psutil.Process) -> Iterator[list[int]]:
    """What all processes take together, looked at again and again while the block runs."""
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(taken(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.real
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_three_models_under_a_budget_that_holds_two(onnx_home: Path) -> None:
    with running_server(onnx_home, slots="4", context="1024") as server, server.client() as http:
        for model in MODELS:
            assert complete(http, model).status_code == 200
        sizes = {resident["id"]: max(resident["memory"], resident["promised"]) for resident in server.residents()}
        apart = taken(psutil.Process(server.process.pid)) - sum(resident["memory"] for resident in server.residents())
    assert len(sizes) == len(MODELS)
    largest = sorted(sizes.values())[1:]
    budget = apart + sum(largest) + 60 * MEGABYTE
    assert budget < apart + sum(sizes.values())
    draw = random.Random(0)
    asked = [draw.choice(MODELS) for _ in range(200)]
    with running_server(onnx_home, memory=str(budget), room_seconds="120", slots="4", context="1024") as server:
        process = psutil.Process(server.process.pid)
        with server.client(timeout=300) as http, watched(process) as seen, ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda model: complete(http, model), asked))
            loaded = {resident["id"]: resident["load_seconds"] for resident in server.residents()}
            evicted = Scrape.of(http.get("/metrics").text).value(
                "cupola_evictions_total", model="smollm2-135m-instruct"
            )
        assert [answer.status_code for answer in answers] == [200] * 200
        assert all(answer.json()["usage"]["completion_tokens"] for answer in answers)
        assert 1 <= len(loaded) <= 2
        assert max(seen) < budget
        assert evicted >= 1


@pytest.mark.real
def test_memory_is_back_with_the_system_within_two_seconds(onnx_home: Path) -> None:
    with running_server(onnx_home) as server, server.client() as http:
        process = psutil.Process(server.process.pid)
        before = taken(process)
        for model in MODELS:
            assert complete(http, model).status_code == 200
            (resident,) = server.residents()
            assert taken(process) > before + 100 * MEGABYTE
            began = time.monotonic()
            assert http.post("/admin/unload", json={"model": model}).json()["unloaded"]
            assert time.monotonic() - began < 2
            assert not psutil.pid_exists(resident["pid"])
            assert taken(process) < before + 40 * MEGABYTE


@pytest.mark.real
@pytest.mark.parametrize("model", ["smollm2@llama", "smollm2@onnx"])  # what GenAI frees stays in its own arena
def test_an_idle_model_gives_its_cache_back_and_then_answers_as_before(onnx_home: Path, model: str) -> None:
    with running_server(onnx_home, keep_cache="0.5", context="2048", slots="4") as server, server.client() as http:
        prompt = "The harbour was quiet. " * 250
        first = complete(http, model, prompt=prompt, temperature=0)
        assert first.status_code == 200
        (full,) = server.residents()
        wait_for(lambda: server.residents()[0]["state"] == "asleep", 5)
        wait_for(lambda: server.residents()[0]["memory"] < full["memory"] - 20 * MEGABYTE, 5)
        again = complete(http, model, prompt=prompt, temperature=0)
        assert again.json()["choices"] == first.json()["choices"]
        assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
