"""More requests than fit: what is refused, what waits, and what a stream says when its worker dies."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "slow", step_seconds=0.02, answer_tokens=100_000)
    add_fake_model(home, "other")
    add_fake_model(home, "late", load_seconds=3.0)
    pull(home, "slow", "other", "late")
    with running_server(home, slots="2", max_queue="3", max_models="1", stall_seconds="1", room_seconds="1") as running:
        yield running


def ask(server: RunningServer, model: str = "slow", tokens: int = 60, **more: object) -> httpx.Response:
    with server.client() as http:
        body = {"model": model, "prompt": "x", "max_tokens": tokens, "ignore_eos": True, **more}
        return http.post("/v1/completions", json=body)


def test_a_full_queue_refuses_and_the_rest_is_served(server: RunningServer) -> None:
    assert ask(server, tokens=1).status_code == 200
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: ask(server), range(12)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 12 - 2 - 3
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in refused:
        assert answer.json()["error"]["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.alone
def test_waiting_for_a_load_is_waiting_too(server: RunningServer) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: ask(server, "late", 1), range(12)))
    assert sum(answer.status_code == 429 for answer in answers) == 12 - 2 - 3
    assert all(answer.elapsed.total_seconds() < 2.5 for answer in answers if answer.status_code == 429)


def test_a_client_that_stops_reading_does_not_keep_its_model(server: RunningServer) -> None:
    assert ask(server, "other", 1).status_code == 200  # it is loaded before the clock runs
    body = {"model": "other", "prompt": "x", "max_tokens": 1900, "ignore_eos": True, "stream": True, "logprobs": 5}
    raw = json.dumps(body).encode()
    url = httpx.URL(server.url)
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect((url.host, url.port or 80))
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(raw)}\r\n"
        for _ in range(16):  # pipelined, whose answers fill the buffers of the system however they are cut
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + raw)
        wait_for(lambda: free_for(server, 1.0), seconds=60)  # nothing is read until the server has let it go
        assert everything(connection).count(b"[DONE]") < 16


def free_for(server: RunningServer, seconds: float) -> bool:
    """Whether no model is in use now, nor for so long: between two pipelined requests one is free for a moment."""
    until = time.monotonic() + seconds
    while not any(resident["users"] for resident in server.residents()):
        if time.monotonic() > until:
            return True
        time.sleep(0.05)
    return False


def everything(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def test_a_pool_whose_models_are_in_use_refuses(server: RunningServer) -> None:
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(ask, server, "slow", 100)
        wait_for(lambda: any(r["users"] for r in server.residents()))
        answer = ask(server, "other", 2)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "models_busy"
        assert int(answer.headers["retry-after"]) > 0
        assert busy.result().status_code == 200
    assert ask(server, "other", 2).status_code == 200  # the idle one made room
    assert [r["id"] for r in server.residents()] == ["other@weightless"]


def test_a_stream_whose_worker_dies_ends_with_an_error_and_no_done(server: RunningServer) -> None:
    body = {"model": "slow", "prompt": "x", "max_tokens": 1000, "ignore_eos": True, "stream": True}
    with server.client() as http, http.stream("POST", "/v1/completions", json=body) as answer:
        lines = (line for line in answer.iter_lines() if line)
        next(lines)
        os.kill(next(r["pid"] for r in server.residents()), signal.SIGKILL)
        *_, last = lines
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == "worker_died"
    assert "SIGKILL" in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert ask(server, tokens=2).status_code == 200
