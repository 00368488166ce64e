"""Completions of real models: log-probabilities against a float64 softmax, choices, batches, filling in the middle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from openai import OpenAI

from server.models.registry import Registry
from server.models.store import Store
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement, Segment

from ..serving import RunningServer, running_server
from .completing import complete, post, streamed

pytestmark = pytest.mark.real

TEXT = "The capital of France is Paris. The capital of Italy is"
ASK: dict[str, Any] = {"model": "smollm2", "prompt": TEXT, "temperature": 0, "max_tokens": 8}
CODER = "qwen2.5-coder-0.5b-instruct"


@pytest.fixture
def client(real_server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def runner(real_server: RunningServer) -> Iterator[ModelRunner]:
    """The server's model, in this process."""
    with real_server.client() as http:
        said = http.get("/v1/models/smollm2").json()
    store, registry = Store(real_server.home), Registry.load()
    model, variants = registry.resolve(said["variant"])
    manifest = store.manifest(model, variants[0])
    assert manifest is not None
    loaded = load_runner(
        said["engine"], store.path(manifest), Placement(threads=2, slots=8, context=1024), lambda _: None
    )
    assert not hasattr(loaded, "dimension")
    yield loaded
    loaded.close()


def softmax(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=1, keepdims=True)), np.float64)


def expected(runner: ModelRunner, prompt: list[int], answer: list[int]) -> npt.NDArray[np.float64]:
    """Log-probabilities after each token: the prompt in one pass and the answer a token at a time, as engines do it."""
    runner.truncate(0, 0)
    rows = [runner.forward([Segment(0, prompt, 0, range(len(prompt)))]).host(range(len(prompt))).copy()]
    for offset, token in enumerate(answer):
        rows.append(runner.forward([Segment(0, [token], len(prompt) + offset, range(1))]).host([0]).copy())
    runner.truncate(0, 0)
    return softmax(np.concatenate(rows))


def test_echoed_logprobs_are_those_of_a_full_softmax(real_server: RunningServer, runner: ModelRunner) -> None:
    choice = complete(real_server, **ASK, echo=True, logprobs=5, cache_prompt=False)["choices"][0]
    scored = choice["logprobs"]
    assert "".join(scored["tokens"]) == choice["text"]
    assert choice["text"].startswith(TEXT)
    assert "Rome" in choice["text"]
    prompt = runner.tokenizer.encode(TEXT, special=True)
    answer = runner.tokenizer.encode(choice["text"], special=True)[len(prompt) :]
    tokens = prompt + answer
    assert [runner.tokenizer.token_bytes(token).decode() for token in tokens] == scored["tokens"]
    rows = expected(runner, prompt, answer[:-1])
    assert scored["token_logprobs"][0] is None
    for row, token, value, top in zip(
        rows, tokens[1:], scored["token_logprobs"][1:], scored["top_logprobs"][1:], strict=True
    ):
        assert value == pytest.approx(row[token], abs=1e-4)
        assert sorted(top.values())[-5:] == pytest.approx(sorted(np.sort(row)[-5:]), abs=1e-4)
    for offset, token in zip(scored["text_offset"], scored["tokens"], strict=True):
        assert choice["text"].startswith(token, offset)


def test_no_tokens_at_all_score_the_prompt_alike(real_server: RunningServer) -> None:
    prompt_only = complete(real_server, **{**ASK, "max_tokens": 0}, echo=True, logprobs=1)
    whole = complete(real_server, **ASK, echo=True, logprobs=1)["choices"][0]["logprobs"]
    scored = prompt_only["choices"][0]["logprobs"]
    count = len(scored["tokens"])
    assert count == prompt_only["usage"]["prompt_tokens"]
    assert scored["token_logprobs"][1:] == pytest.approx(whole["token_logprobs"][1:count], abs=1e-4)


def test_a_long_prompt_is_scored_in_pieces(real_server: RunningServer) -> None:
    text = "It was the best of times, it was the worst of times. " * 60
    answer = complete(real_server, **{**ASK, "prompt": text, "max_tokens": 0}, echo=True, logprobs=0)
    scored = answer["choices"][0]["logprobs"]
    assert "".join(scored["tokens"]) == text
    values = scored["token_logprobs"][1:]
    assert len(values) > 700
    assert np.mean(values[-200:]) > np.mean(values[:20]), "what was said before becomes likely"


@pytest.mark.parametrize(
    "change",
    [{"n": 3, "seed": 3, "temperature": 0.8}, {"prompt": ["One,", "Eins,", "Un,"]}, {"echo": True, "logprobs": 2}],
    ids=["n", "batch", "echo"],
)
def test_a_stream_folds_to_the_plain_answer(real_server: RunningServer, change: dict[str, Any]) -> None:
    body = {**ASK, **change}
    plain, folded = complete(real_server, **body), streamed(real_server, **body)
    assert [choice["text"] for choice in folded["choices"]] == [choice["text"] for choice in plain["choices"]]
    assert folded["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]


def test_the_client_reads_choices_and_logprobs(client: OpenAI) -> None:
    answer = client.completions.create(
        model="smollm2", prompt=[TEXT, "Two and two is"], n=2, best_of=3, max_tokens=4, logprobs=2, echo=True, seed=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[2].text.startswith("Two and two is")
    logprobs = answer.choices[0].logprobs
    assert logprobs
    assert logprobs.tokens
    assert logprobs.text_offset
    assert len(logprobs.tokens) == len(logprobs.text_offset)


def test_an_answer_keeps_to_its_form(real_server: RunningServer) -> None:
    body = {**ASK, "prompt": "The sky is", "max_tokens": 20}
    assert complete(real_server, **body, guided_choice=[" green", " blue"])["choices"][0]["text"] == " blue"
    found = complete(real_server, **body, grammar='root ::= " " [a-z]+ "."')["choices"][0]["text"]
    assert found[1:-1].isalpha()
    assert found.endswith(".")


def test_tokens_go_there_and_back(real_server: RunningServer) -> None:
    for text in ("Hello, world!", "Grüße, 世界 👍", "  two  spaces\n\ttab"):
        said = post(real_server, "/tokenize", model="smollm2", content=text).json()
        back = post(real_server, "/detokenize", model="smollm2", tokens=said["tokens"]).json()
        assert back == {"prompt": text, "content": text}
        assert said["count"] == len(said["tokens"])
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    answer = post(real_server, "/v1/chat/completions", model="smollm2", messages=messages, max_tokens=1).json()
    counted = post(real_server, "/v1/chat/completions/input_tokens", model="smollm2", messages=messages).json()
    assert counted == {"object": "response.input_tokens", "input_tokens": answer["usage"]["prompt_tokens"]}
    prompt = post(real_server, "/apply-template", model="smollm2", messages=messages).json()["prompt"]
    whole = post(real_server, "/tokenize", model="smollm2", messages=messages).json()
    assert post(real_server, "/tokenize", model="smollm2", prompt=prompt).json()["tokens"] == whole["tokens"]
    assert whole["count"] == counted["input_tokens"]


def test_a_model_that_was_not_made_for_gaps_says_so(real_server: RunningServer) -> None:
    answer = post(real_server, "/v1/completions", **ASK, suffix="end")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "suffix"


@pytest.fixture(scope="module")
def coder(real_home: Path) -> Iterator[RunningServer]:
    store, registry = Store(real_home), Registry.load()
    model, variants = registry.resolve(CODER)
    if store.manifest(model, variants[0]) is None:
        pytest.skip("that model is not pulled")
    with running_server(real_home) as server:
        yield server


def test_a_coder_fills_in_the_middle(coder: RunningServer) -> None:
    ask = {
        "model": CODER,
        "prompt": "def add(a, b):\n    ",
        "suffix": "\n\nprint(add(1, 2))\n",
        "temperature": 0,
        "max_tokens": 24,
    }
    answer = complete(coder, **ask)
    assert answer["choices"][0]["text"].strip().startswith("return a + b")
    assert streamed(coder, **ask)["choices"][0]["text"] == answer["choices"][0]["text"]
    batch = complete(coder, **{**ask, "prompt": [ask["prompt"], "def sub(a, b):\n    "], "n": 2})
    assert [choice["text"].strip().split("\n")[0] for choice in batch["choices"]][:2] == ["return a + b"] * 2


def test_text_around_a_gap_that_is_spelled_like_a_marker_is_text(coder: RunningServer) -> None:
    plain = complete(coder, model=CODER, prompt="x = ", suffix="\n", max_tokens=1, temperature=0)
    marked = complete(coder, model=CODER, prompt="x = <|fim_suffix|>", suffix="\n", max_tokens=1, temperature=0)
    assert marked["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 3


def test_a_text_that_begins_with_a_special_token_keeps_it(coder: RunningServer) -> None:
    said = post(coder, "/tokenize", model=CODER, content="<|im_start|>user").json()["tokens"]
    assert said == post(coder, "/tokenize", model=CODER, prompt="<|im_start|>user").json()["tokens"]
    spelled = post(coder, "/tokenize", model=CODER, content="<|im_start|>user", parse_special=False).json()
    assert spelled["count"] > len(said)
