import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.evaluation import receiving, served
from scripts.evaluation.answers import Answer, Asked, file_name
from scripts.evaluation.evaluate import evaluate
from scripts.evaluation.found import Evaluation
from scripts.evaluation.memory import Peak
from scripts.evaluation.order import Order
from scripts.evaluation.targets import Found, Ready
from scripts.reporting import Reporter
from server.errors import CupolaError, InvalidValue, ModelNotFound
from tests.serving import add_fake_model, pull, running_server

from .endpoint import data, endpoint


def run(target: str, found: Path, **more: Any) -> Evaluation:
    return evaluate(Order(targets=(target,), data=found, **{"concurrency": 1, "timed": 0} | more), Reporter(None))


def test_busy_and_broken_connections_are_tried_again(tmp_path: Path) -> None:
    found = data(tmp_path, [("a", "a"), ("b", "c")])
    with endpoint([(429, "{}"), (0, ""), (503, "{}")], retry_after="1") as server:
        made = run(server.url, found)
    assert made.targets[0].metrics["exact"].value == 0.5
    assert made.targets[0].metrics["exact"].n == 2
    assert made.seconds >= 1  # Retry-After
    assert "latency_seconds" not in made.targets[0].metrics


def test_a_busy_server_is_asked_for_a_loss_again(tmp_path: Path) -> None:
    with endpoint() as server:
        server.scoring = [(503, "{}"), (0, ""), (200, '{"prompt": "a"}'), (429, "{}")]
        made = run(server.url, data(tmp_path, [("a", "a"), ("b", "c")]), metrics=("perplexity",))
    assert "perplexity" not in made.targets[0].not_measured
    assert made.targets[0].metrics["perplexity"].value == pytest.approx(math.exp(0.5))


def test_an_answer_whose_loss_may_come_later_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "ATTEMPTS", 2)
    found, out = data(tmp_path, [("a", "a"), ("b", "c")]), tmp_path / "out"
    with endpoint() as server:
        server.scoring = [(200, '{"prompt": "a"}'), (503, "{}"), (503, "{}")]
        with pytest.raises(CupolaError, match="did not answer in 2 attempts: status 503"):
            run(server.url, found, metrics=("perplexity",), out=out)
        again = run(server.url, found, metrics=("perplexity",), out=out)
    assert again.targets[0].metrics["perplexity"].n == 2


def test_a_long_wait_is_not_sat_out(tmp_path: Path) -> None:
    with endpoint([(429, "{}")], retry_after="3600") as server, pytest.raises(CupolaError, match="wait 3600 seconds"):
        run(server.url, data(tmp_path, [("a", "a")]))


@pytest.mark.parametrize("timed", [0, 1])
@pytest.mark.parametrize(
    ("status", "body", "said"), [(200, "data: {", "no chat completion"), (400, "no", "status 400")]
)
def test_a_wrong_answer_is_an_error(tmp_path: Path, status: int, body: str, said: str, timed: int) -> None:
    with endpoint([(status, body)]) as server, pytest.raises(CupolaError, match=said):
        run(server.url, data(tmp_path, [("a", "a")]), timed=timed)


def test_a_stream_that_breaks_off_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "ATTEMPTS", 2)
    begun = 'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
    found, out = data(tmp_path, [("a", "a")]), tmp_path / "out"
    with endpoint([(200, begun), (200, "{}"), (200, begun)]) as server:
        with pytest.raises(CupolaError, match="ended before its answer did"):
            run(server.url, found, timed=1, out=out)
        made = run(server.url, found, timed=1, out=out)
    assert made.targets[0].metrics["exact"].value == 1, "asked again, since nothing was kept"


@pytest.mark.parametrize("timed", [0, 1])
def test_an_answer_without_end_is_not_read(tmp_path: Path, timed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "LARGEST", 1 << 20)
    with endpoint([(200, "data: " * (1 << 20))]) as server, pytest.raises(CupolaError, match="more than 1 MB"):
        run(server.url, data(tmp_path, [("a", "a")]), timed=timed)


def test_an_answer_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part comes in time, and the last never."""
    times = iter(range(100))
    monkeypatch.setattr("scripts.evaluation.receiving.time.monotonic", lambda: float(next(times)))
    response = httpx.Response(200, content=iter(lambda: b": still here\n", b""))
    with pytest.raises(httpx.ReadTimeout, match="no end after 30 seconds"):
        receiving.Stream().read(response, 30)


@pytest.mark.parametrize("body", ["[" * 100_000, '{"choices": [{"message": {"content": ' + "[" * 100_000])
def test_an_answer_that_nests_too_deeply_is_an_error(tmp_path: Path, body: str) -> None:
    with endpoint([(200, body)]) as server, pytest.raises(CupolaError, match="no chat completion"):
        run(server.url, data(tmp_path, [("a", "a")]))


def test_half_a_character_is_kept_as_a_question_mark(tmp_path: Path) -> None:
    body = '{"choices": [{"message": {"content": "\\ud83d"}}]}'
    with endpoint([(200, body)]) as server:
        made = run(server.url, data(tmp_path, [("a", "\ufffd")]), out=tmp_path / "out")
    assert made.targets[0].metrics["exact"].value == 1


def test_what_is_sent(tmp_path: Path) -> None:
    schema, key = tmp_path / "schema.json", tmp_path / "key"
    schema.write_text('{"type": "object", "required": ["a"]}')
    key.write_text("secret\n")
    found = data(tmp_path, [('{"a": 1}', '{"a": 1.0}'), ("{}", '{"a": 2}')])
    asked = {"schema_file": schema, "json_mode": True, "api_key_file": key, "metrics": ("json_schema", "exact_json")}
    with endpoint() as server:
        made = run(server.url, found, **asked)
    assert server.keys == {"Bearer secret"}
    body = server.asked[0]
    assert body["messages"] == [{"role": "user", "content": '{"a": 1}'}]
    assert body["temperature"] == 0
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object", "required": ["a"]}
    assert made.targets[0].metrics["json_schema"].value == 0.5
    assert made.targets[0].metrics["exact_json"].value == 0.5


def test_times_come_from_a_stream_and_answers_are_kept(tmp_path: Path) -> None:
    found, out = data(tmp_path, [(f"word {n}", f"word {n}") for n in range(8)]), tmp_path / "out"
    with endpoint() as server:
        made = run(server.url, found, timed=2, out=out, metrics=("exact", "perplexity"))
        assert len([one for one in server.asked if one.get("stream")]) == 2
        figures = made.targets[0].metrics
        assert figures["exact"].value == 1.0
        assert figures["latency_seconds"].n == 2
        assert figures["tokens_per_second"].value * figures["latency_seconds"].value == pytest.approx(6, rel=1e-6)
        assert "score" in made.targets[0].not_measured["perplexity"]
        file = out / f"answers-{file_name(server.url)}.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # as a kill leaves it
        server.asked.clear()
        again = run(server.url, found, timed=2, out=out, metrics=("exact", "perplexity"))
        assert len([one for one in server.asked if one.get("max_tokens", 0) > 1]) == 3
        assert again.targets[0].metrics == figures
        server.asked.clear()
        run(server.url, found, timed=2, out=out, metrics=("exact", "perplexity"), max_tokens=9)
        assert len([one for one in server.asked if one.get("max_tokens", 0) > 1]) == 8  # other settings, other answers
    assert Evaluation.model_validate_json((out / "evaluation.json").read_bytes()).examples == 8


def test_our_server_against_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name, tokens in (("one", 8), ("two", 16)):
        add_fake_model(home, name, answer_tokens=tokens)
    pull(home, "one", "two")
    found = data(tmp_path, [(f"<b>{number}", "x") for number in range(6)])
    with running_server(home) as server:
        targets = (f"{server.url}/v1#one", f"{server.url}/v1#two")
        order = Order(targets=targets, data=found, timed=3, out=tmp_path / "out", metrics=("exact", "bleu", "rougeL"))
        made = evaluate(order, Reporter(None))
    assert made.targets[1].metrics["latency_seconds"].n == 3
    compared = {one.metric: one for one in made.comparisons}
    assert compared["exact"].p_value == 1.0
    assert compared["exact"].ratio is None  # of nothing
    time = compared["latency_seconds"]
    assert time.ratio_low is not None
    assert time.ratio is not None
    assert time.ratio_high is not None
    assert time.ratio_low <= time.ratio <= time.ratio_high
    assert time.ratio == pytest.approx(
        made.targets[1].metrics["latency_seconds"].value / made.targets[0].metrics["latency_seconds"].value
    )
    page = (tmp_path / "out" / "evaluation.html").read_text("utf-8")
    assert "<script" not in page
    assert "src=" not in page
    assert f"{time.ratio:.1%}" in page
    assert "ROUGE-L" in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metrics": ("beauty",)}, "no metric 'beauty'"),
        ({"metrics": ("json_schema",)}, "--schema"),
        ({"targets": ("http://x/v1",)}, "names no model"),
        ({"targets": ("http://:8000/v1#m",)}, "no address"),
        ({"targets": ("http://x:port/v1#m",)}, "no address"),
        ({"targets": ("http://x:99999/v1#m",)}, "no address"),
        ({"targets": ("http://256.0.0.1/v1#m",)}, "no address"),
        ({"targets": ("http://x x/v1#m",)}, "no address"),
        ({"targets": ("ftp://x/v1#m",)}, "no address"),
        ({"targets": ("http://x/v1#m", "http://x/v1#m")}, "twice"),
        ({"api_key_file": Path("/nowhere/key")}, "no file"),
        ({"schema_file": Path("/nowhere/schema")}, "no file"),
        ({"targets": ("/nowhere/model.gguf",)}, "There is no"),
        ({"targets": ("no-such-model",)}, "There is no file or folder 'no-such-model'. .*does not exist"),
        ({"metrics": ("f1",), "field": "action"}, "field 'action'"),
    ],
)
def test_orders_are_checked_first(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    order = Order(**{"targets": ("http://x/v1#m",), "data": data(tmp_path, [("a", "a")])} | more)
    with pytest.raises((InvalidValue, ModelNotFound), match=said):
        evaluate(order, Reporter(None))


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no JSON"), ('{"type": 3}', "no JSON Schema"), ('{"$ref": "http://x/y"}', "leaves the file")],
)
def test_a_schema_has_to_be_one(tmp_path: Path, text: str, said: str) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(text)
    with pytest.raises(InvalidValue, match=said):
        run("http://x/v1#m", data(tmp_path, [("a", "a")]), schema_file=schema)


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with endpoint() as server:
        url = server.url
    with pytest.raises(CupolaError, match="Nothing answers at http"):
        run(url, data(tmp_path, [("a", "a")]))


def test_a_kill_behind_the_last_answer_leaves_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, out, peak = data(tmp_path, [("a", "a"), ("b", "b")]), tmp_path / "out", Peak()

    def ask(asked: list[Asked]) -> Iterator[Answer]:
        for one in asked:
            peak.value += 5_000_000
            yield Answer(one.key, text="a")
        raise RuntimeError("killed")

    @contextmanager
    def ready(*_: object) -> Iterator[Ready]:
        yield Ready(ask, peak)

    monkeypatch.setattr("scripts.evaluation.evaluate.ready", ready)
    monkeypatch.setattr("scripts.evaluation.evaluate.look", lambda *_: Found(3_000_000, "content"))
    with pytest.raises(RuntimeError, match="killed"):
        run("mine", found, out=out)
    [target] = run("mine", found, out=out).targets
    assert (target.memory_bytes, target.size_bytes, target.not_measured) == (10_000_000, 3_000_000, {})
    [file] = out.glob("answers-*.jsonl")
    file.write_bytes(b"".join(line for line in file.read_bytes().splitlines(True) if b'"memory"' not in line))
    [target] = run("mine", found, out=out).targets
    assert (target.memory_bytes, target.size_bytes) == (None, 3_000_000)
    assert list(target.not_measured) == ["memory_bytes"]
    assert "runs already" not in target.not_measured["memory_bytes"]


def test_answers_of_something_else_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with endpoint() as server:
        (out / f"answers-{file_name(server.url)}.jsonl").write_text(json.dumps({"no": "answer"}) + "\n")
        with pytest.raises(InvalidValue, match="holds no answers"):
            run(server.url, data(tmp_path, [("a", "a")]), out=out)
