import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts import examples
from scripts.data.order import Order, Paraphrase
from scripts.data.paraphrase import SILENCE
from scripts.data.prepare import prepare
from scripts.reporting import Reporter
from server.errors import CupolaError
from tests.scripts.teaching.teachers import Failure
from tests.scripts.teaching.teachers import Teacher as Scripted

from .test_prepare import lines, pairs

Replies = Callable[[dict[str, Any]], tuple[int, str]]


@contextmanager
def teacher(replies: Replies) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its URL, and the requests it got; `replies` gives status and text for a request."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request)
            status, text = replies(request)
            body = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def question(request: dict[str, Any]) -> str:
    said: str = request["messages"][-1]["content"]
    return said


def order(source: Path, url: str, count: int = 1) -> Order:
    return Order(sources=(source,), paraphrase=Paraphrase(url=url, model="m", count=count))


def test_only_training_questions_are_rewritten_and_the_answers_stay(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs())
    prepare(Order(sources=(source,)), tmp_path / "plain", Reporter(None))
    with teacher(lambda request: (200, f"So {question(request)} number {request['seed']}, pray")) as (url, asked):
        card = prepare(order(source, url, 2), tmp_path / "data", Reporter(None))
    plain = examples.read(tmp_path / "plain" / "train.jsonl")
    train = examples.read(tmp_path / "data" / "train.jsonl")
    assert {question(request) for request in asked} == {one.prompt[-1].content for one in plain}
    assert train[: len(plain)] == plain
    new = train[len(plain) :]
    assert len(new) == 2 * len(plain)
    assert new[0].prompt[-1].content == f"So {plain[0].prompt[-1].content} number 1, pray"
    assert (new[0].answer, new[0].label, new[0].meta) == (
        plain[0].answer,
        plain[0].label,
        {"paraphrase_of": plain[0].id},
    )
    assert card.paraphrases is not None
    assert (card.paraphrases.asked, card.paraphrases.kept, card.paraphrases.failed) == (len(new), len(new), {})
    assert card.examples["train"] == len(train)
    for name in ("validation", "test"):
        assert (tmp_path / "data" / f"{name}.jsonl").read_bytes() == (tmp_path / "plain" / f"{name}.jsonl").read_bytes()


def test_what_is_no_paraphrase_is_counted_by_reason(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", [one | {"answer": one["label"]} for one in pairs()])
    prepare(Order(sources=(source,)), tmp_path / "plain", Reporter(None))
    stolen = examples.read(tmp_path / "plain" / "test.jsonl")[0].prompt[-1].content
    bad = [(400, ""), (200, " "), (200, "long " * 50), (200, stolen), (200, "KEPT")]
    turn = iter([*bad, *[(200, "")] * 500])
    lock = threading.Lock()

    def replies(request: dict[str, Any]) -> tuple[int, str]:
        with lock:
            status, text = next(turn)
        return status, text if text != "" else question(request).upper()

    with teacher(replies) as (url, asked):
        card = prepare(order(source, url), tmp_path / "data", Reporter(None))
    assert card.paraphrases is not None
    rest = len(asked) - len(bad)
    assert card.paraphrases.failed == {
        "empty": 1,
        "near another split": 1,
        "status 400": 1,
        "the same words": rest,
        "too long": 1,
    }
    assert card.paraphrases.kept == 1


@pytest.mark.parametrize(("word", "lost"), [("Give", False), ("per cent", False), ("lamp", True), ("10", True)])
def test_a_paraphrase_keeps_numbers_and_the_names_that_are_copied(tmp_path: Path, word: str, lost: bool) -> None:
    told = [{"question": f"Give {one['question']} 10 per cent", "answer": one["question"]} for one in pairs()]
    source = lines(tmp_path / "pairs.jsonl", told)
    with teacher(lambda request: (200, question(request).replace(word, "so"))) as (url, _):
        card = prepare(order(source, url), tmp_path / "data", Reporter(None))
    assert card.paraphrases is not None
    assert ("a name or number is lost" in card.paraphrases.failed) == lost


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    seen: set[str] = set()

    def replies(request: dict[str, Any]) -> tuple[int, str]:
        first = not seen
        seen.add(question(request))
        return (503, "") if first else (200, f"Tell me: {question(request)}")

    with teacher(replies) as (url, _):
        card = prepare(order(lines(tmp_path / "pairs.jsonl", pairs(40)), url), tmp_path / "data", Reporter(None))
    assert card.paraphrases is not None
    assert card.paraphrases.failed == {}


def test_a_server_that_answers_nothing_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs(40))
    with (
        teacher(lambda _: (401, "a key is needed")) as (url, _),
        pytest.raises(CupolaError, match=r"wrote no paraphrase: status 401.*a key is needed"),
    ):
        prepare(order(source, url), tmp_path / "data", Reporter(None))
    assert not (tmp_path / "data").exists()


def test_a_last_batch_without_an_answer_is_counted_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs(40))
    count = prepare(Order(sources=(source,)), tmp_path / "plain", Reporter(None)).examples["train"]
    monkeypatch.setattr("scripts.data.prepare.AT_ONCE", count - 1)
    turn = iter(range(count))

    def replies(request: dict[str, Any]) -> tuple[int, str]:
        return (400, "") if next(turn) == count - 1 else (200, f"Tell me: {question(request)}")

    with teacher(replies) as (url, asked):
        card = prepare(order(source, url), tmp_path / "data", Reporter(None))
    assert len(asked) == count
    assert card.paraphrases is not None
    assert (card.paraphrases.kept, card.paraphrases.failed) == (count - 1, {"status 400": 1})
    assert card.examples["train"] == 2 * count - 1


def test_a_server_that_answers_no_more_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.data.prepare.AT_ONCE", SILENCE)
    turn = iter(range(1000))

    def replies(request: dict[str, Any]) -> tuple[int, str]:
        return (200, f"Tell me: {question(request)}") if next(turn) < SILENCE else (400, "")

    with teacher(replies) as (url, asked):
        card = prepare(order(lines(tmp_path / "pairs.jsonl", pairs()), url), tmp_path / "data", Reporter(None))
    assert len(asked) == 2 * SILENCE
    assert card.paraphrases is not None
    assert (card.paraphrases.asked, card.paraphrases.failed["status 400"]) == (2 * SILENCE, SILENCE)
    assert f"{url} answered no more" in capsys.readouterr().out


def test_a_server_that_asks_to_wait_is_waited_for(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs(40))
    prepare(Order(sources=(source,)), tmp_path / "plain", Reporter(None))
    busy = examples.read(tmp_path / "plain" / "train.jsonl")[0].prompt[-1].content
    with Scripted("Tell me: {}".format) as server:
        server.failures[busy] = [Failure(503, headers={"Retry-After": "1"})]
        prepare(order(source, server.at.partition("#")[0]), tmp_path / "data", Reporter(None))
    first, second = (at for said, at in zip(server.asked, server.times, strict=True) if said == busy)
    assert second - first >= 1.0
