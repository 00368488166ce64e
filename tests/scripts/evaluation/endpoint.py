"""An OpenAI-compatible server of scripted answers, over real HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripts import examples


@dataclass
class Endpoint:
    """`script` holds statuses (0: hangs up) and bodies, used up first; then what the user said comes back.

    `scoring` is such a script of the requests for a loss, 0.5 a letter; without one it does not score.
    """

    url: str = ""
    script: list[tuple[int, str]] = field(default_factory=list)
    scoring: list[tuple[int, str]] | None = None
    retry_after: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)


@contextmanager
def endpoint(script: list[tuple[int, str]] | None = None, retry_after: str = "") -> Iterator[Endpoint]:
    """Lists no models. What is asked to warm it up is not part of the script."""
    made = Endpoint(script=script or [], retry_after=retry_after)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(404, "{}")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.keys.add(self.headers["Authorization"])
            if asked.get("max_tokens") == 1:
                self._send(200, "{}")
                return
            if made.scoring is not None and not self.path.endswith("/chat/completions"):
                status, body = made.scoring.pop(0) if made.scoring else (200, _scored(asked))
                if status:
                    self._send(status, body)
                return
            made.asked.append(asked)
            said = asked["messages"][-1]["content"] if "messages" in asked else ""
            status, body = made.script.pop(0) if made.script else (200, _streamed(said) if "stream" in asked else "")
            if status:
                self._send(status, body or json.dumps({"choices": [{"message": {"content": said}}]}))

        def _send(self, status: int, body: str) -> None:
            self.send_response(status)
            if made.retry_after and status == 429:
                self.send_header("Retry-After", made.retry_after)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/v1#echo"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _scored(asked: dict[str, Any]) -> str:
    """The prompt of messages, or the log-probabilities of a prompt."""
    if "messages" in asked:
        return json.dumps({"prompt": asked["messages"][-1]["content"]})
    length = len(asked["prompt"])
    scores = {"text_offset": list(range(length)), "token_logprobs": [None, *[-0.5] * (length - 1)]}
    return json.dumps({"choices": [{"logprobs": scores}]})


def _streamed(said: str) -> str:
    parts = [{"choices": [{"delta": {"content": letter}}]} for letter in said]
    usage = {"choices": [], "usage": {"completion_tokens": len(said)}}
    return "".join(f"data: {json.dumps(event)}\n\n" for event in [*parts, usage]) + "data: [DONE]\n\n"


def data(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    """A data folder whose test.jsonl has a user's turn and the answer wanted."""
    turn = examples.Turn
    examples.write(
        folder / "test.jsonl", [examples.Example((turn("user", said), turn("assistant", told))) for said, told in pairs]
    )
    return folder
