"""What the log says of requests, and what it never says."""

import contextvars
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.api.access_log import LONGEST_PROMPT
from server.environment import child_environment
from server.logs import JsonLines, PrettyLines, chosen, one_line, serve, with_request_id

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for

FAILING = """
import sys, threading, time
from pathlib import Path
import httpx, uvicorn
from server import logs
from server.app import create_app
from server.settings import Settings

app = create_app(Settings(home=Path(sys.argv[1])))
app.add_api_route("/failing", lambda: 1 / 0)
logs.configure("info", "json")
server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    time.sleep(0.01)
port = server.servers[0].sockets[0].getsockname()[1]
answer = httpx.get(f"http://127.0.0.1:{port}/failing", headers={"X-Request-Id": "failed-1"}, trust_env=False)
print(answer.status_code, answer.headers["x-request-id"])
server.should_exit = True
thread.join()
"""
KEY = "the-key-of-this-server"
WORD = "xylophone"
ASK = {
    "model": "fake",
    "messages": [{"role": "user", "content": f"{WORD} " * 100}],
    "max_tokens": 6,
    "ignore_eos": True,
}


@dataclass(frozen=True, slots=True)
class Logged:
    """A server and its log."""

    server: RunningServer
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def of(self, request_id: str, logger: str = "server.access", count: int = 1) -> list[dict[str, Any]]:
        """The lines of a request, which come after its answer."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines() if (line.get("request_id"), line["logger"]) == (request_id, logger)]

        wait_for(lambda: len(found()) >= count)
        return found()


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "slow", step_seconds=0.05, answer_tokens=100_000)
    add_fake_model(home, "fresh")
    pull(home, "slow", "fresh")
    with running_server(home, log=home / "log", api_key=KEY, slow_seconds="400ms") as server:
        yield Logged(server, home / "log")


def headers(request_id: str) -> dict[str, str]:
    return {"X-Request-Id": request_id, "Authorization": f"Bearer {KEY}"}


def test_a_request_is_a_line_with_tokens_and_times(logged: Logged) -> None:
    with logged.server.client() as http:
        for stream in (False, True):
            name = f"asked-{stream}"
            answer = http.post("/v1/chat/completions", json={**ASK, "stream": stream}, headers=headers(name))
            assert answer.headers["x-request-id"] == name
            line = logged.of(name)[0]
            told = {part: line[part] for part in ("level", "method", "route", "status", "model", "completion_tokens")}
            assert told == {
                "level": "info",
                "method": "POST",
                "route": "/v1/chat/completions",
                "status": 200,
                "model": "fake",
                "completion_tokens": 6,
            }
            assert line["prompt_tokens"] > 100
            assert 0 <= line["queue_seconds"] <= line["first_token_seconds"] <= line["seconds"]
            assert line["key"] == "CUPOLA_API_KEY"
            assert line["message"].startswith(f"POST /v1/chat/completions 200 fake {line['prompt_tokens']}+6 tokens, ")


def test_neither_prompts_nor_keys_are_in_the_log(logged: Logged) -> None:
    with logged.server.client() as http:
        http.post("/v1/chat/completions", json=ASK, headers=headers("quiet-1"))
        http.post("/v1/chat/completions", json={**ASK, "temperature": WORD}, headers=headers("quiet-2"))
        http.get(f"/v1/models/{WORD}?api_key={KEY}", headers={"X-Request-Id": "quiet-3", "x-api-key": f"{KEY}-not"})
    logged.of("quiet-1")
    assert logged.of("quiet-2")[0]["status"] == 400
    assert logged.of("quiet-3")[0]["status"] == 401
    text = logged.log.read_text()
    assert KEY not in text
    assert text.count(WORD) == text.count(f"/v1/models/{WORD}")


def test_lines_of_other_rooms_have_the_request_too(logged: Logged) -> None:
    with logged.server.client() as http:
        http.post("/v1/chat/completions", json={**ASK, "model": "fresh"}, headers=headers("loading-1"))
    assert logged.of("loading-1")[0]["model"] == "fresh"
    said = [line for line in logged.lines() if line.get("request_id") == "loading-1"]
    assert [line for line in said if line["logger"].startswith("server.pool") and "fresh" in line["message"]]


def test_what_comes_of_a_request_later_is_not_told_as_its_own(tmp_path: Path) -> None:
    add_fake_model(tmp_path, "idle")
    pull(tmp_path, "idle")
    log = tmp_path / "log"
    with running_server(tmp_path, log=log, keep_alive="500ms") as server:
        with server.client() as http:
            http.post("/v1/chat/completions", json={**ASK, "model": "idle"}, headers={"X-Request-Id": "before-1"})
        wait_for(lambda: "unloading idle" in log.read_text())
    [line] = [json.loads(text) for text in log.read_text().splitlines() if "unloading idle" in text]
    assert "request_id" not in line


def test_an_unforeseen_error_is_told_with_the_request_and_its_id_is_in_the_answer(tmp_path: Path) -> None:
    """A device cannot be made to fail like that from outside, so the route is one that only this test has."""
    log, script = tmp_path / "log", tmp_path / "failing.py"
    script.write_text(FAILING)
    with log.open("w") as stderr:
        ran = subprocess.run(
            [sys.executable, "-P", script, tmp_path],
            check=False,
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert ran.stdout.decode().split() == ["500", "failed-1"]
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    told = [line for line in lines if line.get("request_id") == "failed-1"]
    assert [line["logger"] for line in told] == ["server.access", "uvicorn.error"]
    assert told[0]["status"] == 500
    assert "ZeroDivisionError" in told[1]["exception"]


def test_a_slow_request_is_a_warning(logged: Logged) -> None:
    with logged.server.client() as http:
        http.post("/v1/chat/completions", json={**ASK, "model": "slow", "max_tokens": 12}, headers=headers("slow-1"))
    usual, warning = logged.of("slow-1", count=2)
    assert (usual["level"], warning["level"], warning["slow"]) == ("info", "warning", True)
    assert warning["message"] == f"slow: {usual['message']}"
    assert warning["seconds"] > 0.4


def test_a_client_that_leaves_is_told_as_such(logged: Logged) -> None:
    body = {**ASK, "model": "slow", "max_tokens": 400, "stream": True}
    with (
        logged.server.client() as http,
        http.stream("POST", "/v1/chat/completions", json=body, headers=headers("left-1")) as answer,
    ):
        next(answer.iter_lines())
    assert logged.of("left-1")[0]["completion_tokens"] < 400


def test_what_is_refused_is_told_with_its_path_and_without_its_query(logged: Logged) -> None:
    with logged.server.client() as http:
        http.get("/no/such\u202e/path?secret=1", headers=headers("lost-1"))
        http.get("/v1/models", headers={"X-Request-Id": "lost-2"})
        http.get("/v1/models", headers={"X-Request-Id": "lost-3", "Host": "a.example"})
    lost = [logged.of(f"lost-{number}")[0] for number in (1, 2, 3)]
    assert [(line["status"], line["error"]) for line in lost] == [
        (404, "unknown_url"),
        (401, "invalid_api_key"),
        (403, "host_not_allowed"),
    ]
    assert [line["path"] for line in lost] == ["/no/such\u202e/path", "/v1/models", "/v1/models"]
    assert "secret" not in logged.log.read_text()


@pytest.mark.parametrize("given", ["", "a b", "x" * 200, "a\tb", "-a", "é", '{"a":1}'])
def test_an_id_that_is_not_sane_is_replaced(logged: Logged, given: str) -> None:
    with logged.server.client() as http:
        answer = http.get("/health/live", headers=[(b"X-Request-Id", given.encode("utf-8"))])
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 24


def test_health_checks_are_not_told(logged: Logged) -> None:
    with logged.server.client() as http:
        http.get("/health/live", headers={"X-Request-Id": "health-1"})
        http.get("/v1/models", headers=headers("after-health"))
    logged.of("after-health")
    assert "health-1" not in logged.log.read_text()


def test_prompts_are_told_if_they_are_asked_for_and_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = {"model": "fake", "messages": [{"role": "user", "content": "a\nb" * 2000}], "max_tokens": 1}
    with running_server(tmp_path, "--log-prompts", "--log-format", "pretty", log=log) as server:
        with server.client() as http:
            http.post("/v1/chat/completions", json=body, headers={"X-Request-Id": "told-1"})
        wait_for(lambda: "server.access" in log.read_text())
    [line] = [line for line in log.read_text().splitlines() if "server.prompts" in line]
    assert line.endswith("[told-1]")
    assert line.count("a\\nb") > LONGEST_PROMPT / 4
    assert len(line) < 2 * LONGEST_PROMPT


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("server.some", logging.WARNING, "some.py", 1, message, arguments, None)
    made.__dict__ |= fields
    return made


FORGING = "in\n2026-01-01T00:00:00.000Z ERROR   server.pool: forged\r\x1b[2J\u2028\x85\x00\ud800 out"


def test_a_message_cannot_forge_a_line() -> None:
    pretty = PrettyLines().format(record("said %s", FORGING))
    as_json = JsonLines().format(record("said %s", FORGING, told=FORGING))
    for line in (pretty, as_json):
        assert len(line.splitlines()) == 1
        assert line.isprintable()
    assert json.loads(as_json)["told"] == FORGING
    assert "in\\n2026" in pretty


def test_a_traceback_is_indented_and_cannot_forge_a_line() -> None:
    with pytest.raises(ValueError, match="forged") as caught:
        raise ValueError(FORGING)
    made = record("failed")
    made.exc_info = (caught.type, caught.value, caught.tb)
    first, *others = PrettyLines().format(made).split("\n")
    assert first.endswith("server.some: failed")
    assert others
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert "ValueError" in json.loads(JsonLines().format(made))["exception"]


def test_fields_of_extra_are_fields_of_the_line() -> None:
    line = json.loads(JsonLines().format(record("text", model="m", seconds=0.5, path=Path("a"))))
    assert {name: line[name] for name in ("level", "logger", "message")} == {
        "level": "warning",
        "logger": "server.some",
        "message": "text",
    }
    assert (line["model"], line["seconds"], line["path"]) == ("m", 0.5, "a")
    assert line["time"].endswith("Z")
    assert "request_id" not in line


def test_the_request_is_the_one_that_is_served() -> None:
    def told(**fields: object) -> str | None:
        line = record("text", **fields)
        assert with_request_id(line)
        found: str | None = json.loads(JsonLines().format(line)).get("request_id")
        return found

    def served() -> None:
        assert told() is None
        request = serve("mine")
        assert (told(), told(request_id="given")) == ("mine", "given")
        later = contextvars.copy_context()  # as a timer has it
        assert later.run(told) == "mine"
        request.end()
        assert (later.run(told), told()) == (None, None)

    contextvars.copy_context().run(served)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_people_get_lines_and_programs_get_json() -> None:
    assert chosen("auto", Terminal()) == "pretty"
    assert chosen("auto", io.StringIO()) == "json"
    assert chosen("json", Terminal()) == "json"
    assert chosen("pretty", io.StringIO()) == "pretty"


@pytest.mark.parametrize("text", ["plain", "ümläut 漢字 🙂", ""])
def test_text_that_prints_stays_as_it_is(text: str) -> None:
    assert one_line(text) == text
