"""Log-probabilities are those of a full softmax, of answers and prompts, and come with the text that they belong to."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.logprobs import Scores, score
from server.engine.text import TextStream
from server.errors import UnsupportedField
from server.runners.base import Segment
from server.runners.fake import BYTES, FakeRunner, FakeTokenizer
from server.types import Request, SamplingParams, TokenLogprob

from .driving import fake_runner
from .recording import Recorder

PARAMS = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPT = "Of all that is said, how likely was it? " * 3


def softmax(row: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Log-probabilities, all in float64."""
    wide = row.astype(np.float64)
    shifted = wide - wide.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), np.float64)


def rows_of(tokens: list[int]) -> npt.NDArray[np.float32]:
    """The logits after each token, of a runner of its own."""
    segment = Segment(0, tokens, 0, range(len(tokens)))
    return fake_runner(slots=1).forward([segment]).host(range(len(tokens)))


def check(scores: list[TokenLogprob], rows: npt.NDArray[np.float32], count: int) -> None:
    for scored, row in zip(scores, rows, strict=True):
        expected = softmax(row)
        assert scored.logprob == pytest.approx(expected[scored.token], abs=1e-5)
        best = np.sort(expected)[::-1][:count]
        assert [likely.logprob for likely in scored.top] == pytest.approx(list(best), abs=1e-5)
        assert all(likely.logprob == pytest.approx(expected[likely.token], abs=1e-5) for likely in scored.top)


@pytest.mark.parametrize("options", [{}, {"cache_tokens": 200}, {"slots": 1}], ids=["plain", "tiny pool", "one slot"])
@pytest.mark.parametrize("count", [0, 5])
def test_prompts_and_answers_are_scored_as_by_a_full_softmax(options: dict[str, Any], count: int) -> None:
    driver = Recorder(fake_runner(**options))
    for name in ("a", "b", "c"):
        driver.send(Request(name, PROMPT + name, PARAMS, logprobs=count, prompt_logprobs=count))
    driver.run()
    for name in ("a", "b", "c"):
        prompt, answer = driver.prompt_scores(name), driver.scores(name)
        tokens = [scored.token for scored in prompt]
        assert tokens == driver.runner.tokenizer.encode(PROMPT + name, special=True)
        assert prompt[0].logprob is None
        assert len(answer) == 12
        rows = rows_of(tokens + [scored.token for scored in answer])
        check(prompt[1:] + answer, rows[:-1], count)
        assert b"".join(scored.text for scored in answer).decode() == driver.text[name]


def test_a_scored_prompt_is_never_taken_from_the_cache() -> None:
    driver = Recorder(fake_runner())
    for name in ("first", "second"):
        driver.send(Request(name, PROMPT, PARAMS, prompt_logprobs=1))
        driver.run()
    assert driver.prompt_scores("first") == driver.prompt_scores("second")
    assert driver.usage["second"].cached_tokens == 0
    driver.submit("third", PROMPT)
    driver.run()
    assert driver.usage["third"].cached_tokens > 0


@pytest.mark.parametrize("scored", [None, 0])
def test_no_tokens_at_all_score_the_prompt_only(scored: int | None) -> None:
    driver = Recorder(fake_runner())
    driver.send(Request("a", PROMPT, SamplingParams(max_tokens=0), logprobs=scored, prompt_logprobs=scored))
    driver.run()
    assert driver.text["a"] == ""
    assert driver.finish["a"] == "length"
    assert driver.usage["a"].completion_tokens == 0
    assert driver.scores("a") == []
    assert len(driver.prompt_scores("a")) == (0 if scored is None else driver.usage["a"].prompt_tokens)
    assert driver.engine.scheduler.running == []


def test_scores_are_of_the_model_and_not_of_the_sampler() -> None:
    driver = Recorder(fake_runner())
    warm = SamplingParams(temperature=1.7, seed=3, max_tokens=6, ignore_eos=True, frequency_penalty=1.0, top_k=4)
    driver.send(Request("a", PROMPT, warm, logprobs=2))
    driver.run()
    answer = driver.scores("a")
    tokens = driver.runner.tokenizer.encode(PROMPT, special=True)
    rows = rows_of(tokens + [scored.token for scored in answer])
    check(answer, rows[len(tokens) - 1 : -1], 2)


def test_asking_for_scores_changes_no_text() -> None:
    texts = []
    for scored in (None, 3):
        driver = Recorder(fake_runner())
        driver.send(Request("a", PROMPT, PARAMS, logprobs=scored))
        driver.run()
        texts.append(driver.text["a"])
    assert texts[0] == texts[1]


def test_a_stop_string_takes_its_tokens_with_it() -> None:
    whole = Recorder(fake_runner())
    whole.send(Request("a", PROMPT, PARAMS, logprobs=0))
    whole.run()
    text = whole.text["a"]
    stop = text[5:8]
    driver = Recorder(fake_runner())
    driver.send(Request("a", PROMPT, SamplingParams(temperature=0, stop=(stop,), ignore_eos=True), logprobs=0))
    driver.run()
    shown = text[: text.find(stop)]
    assert driver.text["a"] == shown
    assert "".join(scored.text.decode() for scored in driver.scores("a")) == shown
    assert driver.deltas["a"][-1].stop == stop
    for delta in driver.deltas["a"]:
        assert "".join(scored.text.decode() for scored in delta.logprobs) == delta.text


def test_an_engine_of_last_logits_cannot_score_a_prompt() -> None:
    runner = fake_runner()
    runner.info = type(runner.info)(**{**_fields(runner), "logits": "last"})
    with pytest.raises(UnsupportedField, match="echo"):
        Recorder(runner).send(Request("a", PROMPT, PARAMS, prompt_logprobs=0))


def _fields(runner: FakeRunner) -> dict[str, Any]:
    return {name: getattr(runner.info, name) for name in runner.info.__struct_fields__}


@given(st.lists(st.floats(-80, 80, width=32), min_size=BYTES, max_size=BYTES), st.integers(0, 300))
def test_any_row_has_a_softmax(values: list[float], count: int) -> None:
    row = np.array(values, np.float32)
    scored = score(row, 7, count, FakeTokenizer())
    expected = softmax(row)
    assert scored.logprob == pytest.approx(expected[7], abs=1e-4)
    assert len(scored.top) == min(count, len(row))
    logprobs = [likely.logprob for likely in scored.top]
    assert logprobs == sorted(logprobs, reverse=True)


@given(
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"aba", b"\xc3", b"\xa9", "é".encode(), b""]), max_size=20),
    st.lists(st.sampled_from(["ba", "aa", "éa", "b"]), max_size=2),
)
def test_scores_come_with_their_text_and_none_is_lost(pieces: list[bytes], stops: list[str]) -> None:
    stream, scores = TextStream(tuple(stops)), Scores()
    shown = ""
    released: list[TokenLogprob] = []
    for number, piece in enumerate(pieces):
        scores.add(TokenLogprob(number, piece, -1.0), piece)
        text = stream.push(piece)
        shown += text
        released += scores.release(text, rest=False)
        if stream.stopped is not None:
            break
    else:
        text = stream.flush()
        shown += text
        released += scores.release(text, rest=stream.stopped is None)
    assert [scored.token for scored in released] == list(range(len(released)))
    if stream.stopped is None:
        assert len(released) == len(pieces)
    elif "\ufffd" not in shown:
        said = b"".join(scored.text for scored in released)
        assert said.startswith(shown.encode())
        assert len(said) < len(shown.encode()) + max(map(len, pieces))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=700), st.integers(1, 20))
def test_the_likeliest_are_found_among_equals(values: list[int], count: int) -> None:
    row = np.array(values, np.float32)
    likely = score(row, 0, count, Nameless()).top
    assert [entry.token for entry in likely] == list(np.argsort(-row, kind="stable")[:count])


class Nameless(FakeTokenizer):
    """Of any vocabulary."""

    def token_bytes(self, token: int) -> bytes:
        return b"?"
