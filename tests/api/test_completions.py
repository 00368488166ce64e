"""Completions on the fake model: echo, log-probabilities, n, best_of, batches and forms, plain and as a stream."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for
from .completing import complete, post, refused, streamed

ASK: dict[str, Any] = {"model": "fake", "prompt": "Once upon é", "max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "slow", step_seconds=0.02, answer_tokens=100_000)
    add_fake_model(home, "small", context=64)
    pull(home, "slow", "small")
    with running_server(home, slots="3", max_queue="2") as running:
        yield running


FOLDED: list[dict[str, Any]] = [
    {},
    {"echo": True},
    {"logprobs": 0},
    {"logprobs": 3, "echo": True},
    {"logprobs": 3, "echo": True, "max_tokens": 0},
    {"n": 3, "seed": 5, "temperature": 1},
    {"n": 3, "seed": 5, "temperature": 1, "echo": True, "logprobs": 2},
    {"prompt": ["One", "Two", "Three"], "n": 2, "seed": 1, "temperature": 1},
    {"prompt": [[72, 105], [72]], "echo": True, "logprobs": 1},
    {"prompt": [f"Prompt {i}" for i in range(20)], "echo": True},
    {"stop": ["e", "x"], "logprobs": 1, "max_tokens": 40, "ignore_eos": True},
    {"prompt": [195], "echo": True, "logprobs": 1},
]


@pytest.mark.parametrize("change", FOLDED, ids=str)
def test_a_stream_folds_to_the_plain_answer(server: RunningServer, change: dict[str, Any]) -> None:
    body = {**ASK, "cache_prompt": False, **change}
    plain, folded = complete(server, **body), streamed(server, **body)
    assert folded["choices"] == plain["choices"]
    cached = "prompt_tokens_details"  # of continuations that share a prompt
    assert {**folded["usage"], cached: 0} == {**plain["usage"], cached: 0}


@pytest.mark.parametrize("change", FOLDED, ids=str)
def test_tokens_make_the_text_and_offsets_point_into_it(server: RunningServer, change: dict[str, Any]) -> None:
    for choice in complete(server, **{**ASK, **change, "logprobs": 2})["choices"]:
        scored = choice["logprobs"]
        lengths = {name: len(values) for name, values in scored.items()}
        assert len(set(lengths.values())) == 1, lengths
        assert scored["text_offset"] == sorted(scored["text_offset"])
        for token, offset in zip(scored["tokens"], scored["text_offset"], strict=True):
            if not token.startswith("bytes:") and not change.get("stop"):
                assert choice["text"].startswith(token, offset)
        for value, top in zip(scored["token_logprobs"], scored["top_logprobs"], strict=True):
            assert (value is None) == (top is None)
            assert top is None or (2 <= len(top) <= 3 and max(top.values()) >= value)


def test_echo_puts_the_prompt_before_the_answer(server: RunningServer) -> None:
    bare = complete(server, **ASK)["choices"][0]
    echoed = complete(server, **ASK, echo=True)["choices"][0]
    assert echoed["text"] == ASK["prompt"] + bare["text"]
    scored = complete(server, **ASK, echo=True, logprobs=1)
    logprobs = scored["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == scored["usage"]["total_tokens"]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["tokens"][-8:] == list(bare["text"])
    assert logprobs["tokens"][11:13] == ["bytes:\\xc3", "bytes:\\xa9"]
    assert logprobs["text_offset"][11:14] == [10, 10, 11]


def test_echo_of_a_prompt_with_control_tokens_spells_them(server: RunningServer) -> None:
    prompt = "<|im_start|>user\nHi<|im_end|><|im_end|>"
    choice = complete(server, **{**ASK, "prompt": prompt}, echo=True, logprobs=0)["choices"][0]
    assert choice["text"].startswith(prompt)
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    assert choice["logprobs"]["tokens"][1:3] == ["<|im_start|>", "u"]
    assert choice["logprobs"]["top_logprobs"] is None


def test_no_tokens_at_all_score_the_prompt(server: RunningServer) -> None:
    answer = complete(server, **{**ASK, "max_tokens": 0}, echo=True, logprobs=1)
    assert answer["choices"][0]["text"] == ASK["prompt"]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"]
    assert complete(server, **{**ASK, "max_tokens": 0})["choices"][0]["text"] == ""


def test_several_prompts_are_answered_as_one_by_one(server: RunningServer) -> None:
    prompts = [f"Prompt number {i}" for i in range(30)]
    together = complete(server, **{**ASK, "prompt": prompts})
    assert [choice["index"] for choice in together["choices"]] == list(range(30))
    for i in (0, 13, 29):
        alone = complete(server, **{**ASK, "prompt": prompts[i]})
        assert together["choices"][i]["text"] == alone["choices"][0]["text"]
    ended = sum(choice["finish_reason"] == "stop" for choice in together["choices"])  # each by a token without text
    texts = sum(len(choice["text"]) for choice in together["choices"])
    assert together["usage"]["completion_tokens"] == texts + ended
    assert together["usage"]["prompt_tokens"] == sum(len(prompt) + 1 for prompt in prompts)


def test_choices_of_a_prompt_stand_together(server: RunningServer) -> None:
    body = {**ASK, "prompt": ["One", "Two"], "n": 3, "seed": 4, "temperature": 1, "echo": True}
    answer = complete(server, **body)
    assert [choice["text"][:3] for choice in answer["choices"]] == ["One"] * 3 + ["Two"] * 3
    assert len({choice["text"] for choice in answer["choices"]}) == 6
    assert answer["usage"]["prompt_tokens"] == 8
    assert answer["choices"] == complete(server, **body)["choices"]


def test_the_best_of_many_are_the_likeliest(server: RunningServer) -> None:
    body = {**ASK, "seed": 3, "temperature": 1.5, "max_tokens": 6, "ignore_eos": True}
    every = complete(server, **body, n=8, logprobs=0)["choices"]
    ranked = sorted(every, key=lambda c: -sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["tokens"]))
    best = complete(server, **body, n=2, best_of=8)
    assert [choice["text"] for choice in best["choices"]] == [choice["text"] for choice in ranked[:2]]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert best["choices"][0]["logprobs"] is None
    assert best["usage"]["completion_tokens"] == sum(len(choice["logprobs"]["tokens"]) for choice in every)


FORMS: list[tuple[dict[str, Any], str]] = [
    ({"guided_choice": ["red", "blue", "blue.green"]}, r"red|blue|blue\.green"),
    ({"guided_regex": "[0-9]{3}"}, "[0-9]{3}"),
    ({"grammar": 'root ::= "a" ("-" [xyz]){2}'}, "a(-[xyz]){2}"),
    ({"guided_grammar": 'start: "a" /[0-9]/ "b"'}, "a[0-9]b"),
    ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
    ({"structured_outputs": {"json": {"type": "integer", "minimum": 0, "maximum": 9}}}, "[0-9]"),
    ({"guided_json": '{"enum": ["a", "b"]}'}, '"[ab]"'),
    ({"json_schema": {"const": 7}}, "7"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 1}}}}, "1"),
    ({"response_format": {"type": "text"}}, "(?s).*"),
    ({"grammar": ""}, "(?s).*"),
]


@pytest.mark.parametrize(("form", "pattern"), FORMS, ids=str)
def test_an_answer_keeps_to_its_form(server: RunningServer, form: dict[str, Any], pattern: str) -> None:
    answer = complete(server, **{**ASK, "max_tokens": 32}, **form, n=2)
    assert all(re.fullmatch(pattern, choice["text"]) for choice in answer["choices"])


ERRORS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"n": 0}, "invalid_value", "n"),
    ({"n": 129}, "invalid_value", "n"),
    ({"n": 3, "best_of": 2}, "invalid_value", "best_of"),
    ({"n": 1, "best_of": 2, "stream": True}, "invalid_value", "best_of"),
    ({"logprobs": 21}, "invalid_value", "logprobs"),
    ({"logprobs": True}, "invalid_type", "logprobs"),
    ({"echo": 1}, "invalid_type", "echo"),
    ({"prompt": []}, "invalid_value", "prompt"),
    ({"prompt": [[]]}, "invalid_value", "prompt"),
    ({"prompt": ["x"] * 129}, "invalid_value", "prompt"),
    ({"prompt": ["x"] * 100, "n": 11}, "invalid_value", "prompt"),
    ({"prompt": [[1], [2, 259]]}, "invalid_value", "prompt"),
    ({"prompt": [259], "echo": True}, "invalid_value", "prompt"),
    ({"model": "small", "prompt": ["x", "y" * 80]}, "context_length_exceeded", None),
    ({"suffix": "end"}, "unsupported_parameter", "suffix"),
    ({"suffix": "end", "echo": True}, "unsupported_parameter", "echo"),
    ({"prompt_logprobs": 1}, "unsupported_parameter", "prompt_logprobs"),
    ({"max_tokens": 0, "min_tokens": 1}, "invalid_value", "min_tokens"),
    ({"guided_regex": "("}, "invalid_value", "guided_regex"),
    ({"guided_regex": "a", "guided_choice": ["b"]}, "invalid_value", "guided_choice"),
    ({"guided_json": "{"}, "invalid_value", "guided_json"),
    ({"guided_json": {"type": "wish"}}, "invalid_value", "guided_json"),
    ({"grammar": 'root ::= "a'}, "invalid_value", "grammar"),
    ({"guided_choice": ["a" * 1000] * 300}, "invalid_value", "guided_choice"),
    ({"response_format": {"type": "yaml"}}, "invalid_value", "response_format"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "unsupported_parameter", "structured_outputs.structural_tag"),
]


@pytest.mark.parametrize(("change", "code", "param"), ERRORS, ids=[str(case[0])[:60] for case in ERRORS])
def test_what_cannot_be_is_a_400_that_names_the_field(
    server: RunningServer, change: dict[str, Any], code: str, param: str | None
) -> None:
    status, found, named = refused(server, **{**ASK, **change})
    assert (status, found) == (400, code)
    assert (named or "").partition(".")[0] == (param or "").partition(".")[0]


def test_a_batch_is_one_user_and_lets_others_through(server: RunningServer) -> None:
    """There are three slots and two places in the queue: forty prompts must fit, and one more request get its turn."""
    complete(server, **{**ASK, "model": "slow", "max_tokens": 1})
    many = {"model": "slow", "prompt": [f"Number {i}" for i in range(40)], "max_tokens": 30, "ignore_eos": True}
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(complete(server, **many)))
    thread.start()
    wait_for(lambda: any(resident["users"] for resident in server.residents()))
    with ThreadPoolExecutor(2) as threads:
        ask = {"model": "slow", "prompt": "Me too", "max_tokens": 3}
        others = list(threads.map(lambda _: complete(server, **ask), range(2)))
    assert thread.is_alive(), "others were answered only after the whole batch"
    thread.join()
    assert len(answers[0]["choices"]) == 40
    assert all(other["choices"][0]["text"] for other in others)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_batch(server: RunningServer, stream: bool) -> None:
    complete(server, **{**ASK, "model": "slow", "max_tokens": 1})
    body = {"model": "slow", "prompt": ["a", "b", "c", "d"], "n": 2, "max_tokens": 1000, "stream": stream}
    raw = json.dumps(body).encode()
    url = httpx.URL(server.url)
    with closing(socket.create_connection((url.host, url.port or 80))) as leaver:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        leaver.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        wait_for(lambda: any(resident["users"] for resident in server.residents()))
    wait_for(lambda: not any(resident["users"] for resident in server.residents()), seconds=2.0)
    assert post(server, "/v1/completions", **{**ASK, "model": "slow", "max_tokens": 2}).status_code == 200


def test_timings_are_those_of_llama_server(server: RunningServer) -> None:
    body = {**ASK, "ignore_eos": True, "n": 2}
    told = complete(server, **body)["timings"]
    assert set(told) == {
        "cache_n",
        "prompt_n",
        "prompt_ms",
        "prompt_per_second",
        "predicted_n",
        "predicted_ms",
        "predicted_per_second",
    }
    assert told["predicted_n"] == 16
    assert told["cache_n"] + told["prompt_n"] == 13
    assert told["predicted_per_second"] > 0
    assert complete(server, **{**ASK, "prompt": ["a", "b"]})["timings"] is None
    answer = post(server, "/v1/completions", **body, stream=True)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [event["timings"]["predicted_n"] for event in events if "timings" in event] == [8, 8]
