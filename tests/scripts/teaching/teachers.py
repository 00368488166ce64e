"""A teacher over real HTTP that says what it is told to, fails as it is told to, and remembers what it was asked."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Failure:
    """Instead of an answer: a status with a body and headers, after a delay. Status 0 hangs up."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


class Teacher:
    """`say` makes the answer of a request; `failures`, by what the user said, come first, in their order."""

    def __init__(self, say: Callable[[str], str] = "re: {}".format, finish: str = "stop") -> None:
        self.say, self.finish = say, finish
        self.failures: defaultdict[str, list[Failure]] = defaultdict(list)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._hold_from: int | None = None
        self._reached, self._released = threading.Event(), threading.Event()
        self._now = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def at(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1#m"

    @property
    def asked(self) -> list[str]:
        """What the user said last, of each request."""
        return [body["messages"][-1]["content"] for body in self.bodies]

    def hold(self, after: int) -> None:
        """The request after so many more is not answered until `release`, nor are those that follow."""
        self._reached.clear()
        self._released.clear()
        self._hold_from = len(self.bodies) + after

    def wait_until_held(self) -> None:
        assert self._reached.wait(30), f"{len(self.bodies)} requests came"

    def release(self) -> None:
        self._hold_from = None
        self._released.set()

    def answer(self, body: dict[str, Any], headers: dict[str, str]) -> Failure:
        said = body["messages"][-1]["content"]
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            failure = self.failures[said].pop(0) if self.failures[said] else None
            held = self._hold_from is not None and number >= self._hold_from
        if held:
            self._reached.set()
            self._released.wait(30)
        if failure:
            time.sleep(failure.delay)
        with self._lock:
            self._now -= 1
        if failure and (failure.status or not failure.delay):
            return failure
        choice = {"message": {"content": self.say(said)}, "finish_reason": self.finish}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        return Failure(200, json.dumps({"choices": [choice], "usage": usage}))

    def _handler(teacher) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                if not content:  # whoever asked was killed while it did
                    return
                made = teacher.answer(
                    json.loads(content), {name.lower(): value for name, value in self.headers.items()}
                )
                if not made.status:
                    return
                try:
                    self.send_response(made.status)
                    for name, value in made.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(made.body.encode())
                except OSError:  # whoever asked was killed, or is tired of waiting
                    self.close_connection = True

        return Handler

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def lines(path: Path, fields: Iterable[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in fields))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
