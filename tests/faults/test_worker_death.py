"""A dead worker ends its own requests at once, and nothing else."""

import os
import signal
import threading
import time

import httpx
import openai
import psutil
import pytest
from openai import OpenAI

from ..serving import RunningServer, running_server
from ..waiting import wait_for

pytestmark = pytest.mark.real


class HealthWatch(threading.Thread):
    """Asks /health/live all the time."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.done = threading.Event()
        self.answers: list[int] = []

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not self.done.is_set():
                self.answers.append(http.get(f"{self._url}/health/live").status_code)


def worker_pid(server: RunningServer) -> int:
    return next(int(r["pid"]) for r in server.residents() if r["id"].startswith("smollm2"))


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker(real_server: RunningServer, number: signal.Signals) -> None:
    with OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
        kill_during_a_stream(client, real_server, number)


def kill_during_a_stream(client: OpenAI, real_server: RunningServer, number: signal.Signals) -> None:
    watch = HealthWatch(real_server.url)
    watch.start()
    try:
        stream = client.completions.create(
            model="smollm2", prompt="Once upon a time", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        os.kill(worker_pid(real_server), number)
        killed = time.monotonic()
        with pytest.raises(openai.APIError, match=f"killed by {number.name}"):
            for _ in stream:
                pass
        assert time.monotonic() - killed < 1.0
        assert client.completions.create(model="smollm2", prompt="Hello", max_tokens=2).choices[0].finish_reason
    finally:
        watch.done.set()
        watch.join()
    assert set(watch.answers) == {200}
    assert len(watch.answers) > 20


def runs(process: psutil.Process) -> bool:
    """False for a process that has ended, also while nobody has asked for its exit status."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_server_leaves_nobody_behind(real_server: RunningServer) -> None:
    with running_server(real_server.home) as server:
        with server.client() as http:
            http.post("/v1/completions", json={"model": "fake", "prompt": "x", "max_tokens": 1}).raise_for_status()
        children = psutil.Process(server.process.pid).children()
        assert len(children) >= 2
        server.process.kill()
        wait_for(lambda: not any(map(runs, children)), seconds=2.0)


def test_a_server_that_is_told_to_end_lets_streams_end(real_server: RunningServer) -> None:
    with running_server(real_server.home) as server, server.client() as http:
        body = {"model": "smollm2", "prompt": "Once", "max_tokens": 150, "ignore_eos": True, "stream": True}
        with http.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert server.process.wait(10) in {0, -signal.SIGTERM}
