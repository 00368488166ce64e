import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import examples
from scripts.evaluation.evaluate import evaluate
from scripts.evaluation.order import Order
from scripts.reporting import Reporter
from server.errors import CupolaError, InvalidValue
from tests.serving import add_fake_model, pull, running_server


@contextmanager
def teacher(script: list[tuple[int, str]]) -> Iterator[str]:
    """Answers with the statuses and bodies of `script` (status 0: hangs up), then with what the user said."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps({"choices": [{"message": {"content": asked["messages"][-1]["content"]}}]})
            status, body = script.pop(0) if script else (200, said)
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#echo"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def data(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    turn = examples.Turn
    examples.write(
        folder / "test.jsonl", [examples.Example((turn("user", said), turn("assistant", told))) for said, told in pairs]
    )
    return folder


def test_busy_and_broken_connections_are_tried_again(tmp_path: Path) -> None:
    found = data(tmp_path, [("a", "a"), ("b", "c")])
    with teacher([(429, "{}"), (0, ""), (503, "{}")]) as target:
        figures = evaluate(Order(targets=(target,), data=found, concurrency=1), Reporter(None)).targets[target]
    assert figures["exact"].value == 0.5
    assert figures["exact"].n == 2


@pytest.mark.parametrize(("status", "body", "said"), [(200, "{", "no chat completion"), (400, "no", "status 400")])
def test_a_wrong_answer_is_an_error(tmp_path: Path, status: int, body: str, said: str) -> None:
    found = data(tmp_path, [("a", "a")])
    with teacher([(status, body)]) as target, pytest.raises(CupolaError, match=said):
        evaluate(Order(targets=(target,), data=found), Reporter(None))


def test_our_server_against_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("one", "two"):
        add_fake_model(home, name, answer_tokens=8)
    pull(home, "one", "two")
    found = data(tmp_path, [(str(number), "x") for number in range(6)])
    with running_server(home) as server:
        targets = (f"{server.url}/v1#one", f"{server.url}/v1#two")
        made = evaluate(Order(targets=targets, data=found), Reporter(None))
    assert made.targets[targets[1]]["latency_seconds"].value > 0
    assert {one.metric for one in made.comparisons} >= {"exact", "latency_seconds"}
    assert next(one for one in made.comparisons if one.metric == "exact").p_value == 1.0


def test_targets_and_metrics_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no metric 'beauty'"):
        evaluate(Order(targets=("http://x/v1#m",), data=tmp_path, metrics=("beauty",)), Reporter(None))
    with pytest.raises(InvalidValue, match="is no served model"):
        evaluate(Order(targets=("nothing",), data=tmp_path), Reporter(None))
