"""/v1/embeddings and /v1/rerank on a weightless encoder: shapes, refusals, queue, death, clients that leave."""

import base64
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for

TASKS = ("embeddings", "rerank")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "vectors", tasks=TASKS, dimension=16, context=64)
    add_fake_model(home, "slow", tasks=TASKS, dimension=16, context=64, step_seconds=0.1)
    add_fake_model(home, "odd", tasks=TASKS)  # models.yaml says encoder, the artifact is none
    add_fake_model(home, "writer")
    pull(home, "vectors", "slow", "odd", "writer")
    with running_server(home, slots="1", max_queue="2", max_models="4") as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(http: httpx.Client, path: str = "embeddings", **body: Any) -> dict[str, Any]:
    answer = http.post(f"/v1/{path}", json={"model": "vectors"} | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    return [entry["embedding"] for entry in answer["data"]]


def test_the_client_gets_typed_vectors(client: OpenAI) -> None:
    answer = client.embeddings.create(model="vectors", input=["one", "two"], encoding_format="float", user="me")
    assert (answer.object, answer.model, len(answer.data)) == ("list", "vectors", 2)
    assert (answer.data[1].object, answer.data[1].index, len(answer.data[1].embedding)) == ("embedding", 1, 16)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 8
    # Without a format the client asks for base64, and unpacks it.
    packed = client.embeddings.create(model="vectors", input=["one", "two"])
    assert [entry.embedding for entry in packed.data] == [entry.embedding for entry in answer.data]


def test_base64_is_little_endian_float32(http: httpx.Client) -> None:
    floats = vectors(ask(http, input="text"))[0]
    packed = ask(http, input="text", encoding_format="base64")["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == floats


def test_a_batch_equals_its_parts_in_order(http: httpx.Client) -> None:
    texts = [f"{'word ' * (place % 9)}{place}" for place in range(60)]
    assert vectors(ask(http, input=texts)) == [vectors(ask(http, input=text))[0] for text in texts]


def test_token_ids_are_what_the_text_is_made_of(http: httpx.Client) -> None:
    whole = ask(http, input=["ab", "c"])
    ids = ask(http, input=[[256, 97, 98], [256, 99]])
    assert vectors(ids) == vectors(whole)
    assert ids["usage"] == whole["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert vectors(ask(http, input=[256, 99]))[0] == vectors(whole)[1]


def test_fewer_dimensions_are_the_first_ones_at_length_one(http: httpx.Client) -> None:
    whole = np.array(vectors(ask(http, input="text"))[0])
    short = np.array(vectors(ask(http, input="text", dimensions=5))[0])
    np.testing.assert_allclose(short, whole[:5] / np.linalg.norm(whole[:5]), atol=1e-6)
    assert vectors(ask(http, input="text", dimensions=16))[0] == whole.tolist()


def test_long_inputs_are_cut_when_asked(http: httpx.Client) -> None:
    answer = ask(http, input=["x" * 500, "y"], truncate_prompt_tokens=-1)
    assert answer["usage"]["prompt_tokens"] == 64 + 2
    assert vectors(ask(http, input="abcdef", truncate_prompt_tokens=3)) == vectors(ask(http, input="ab"))


REFUSED: list[tuple[dict[str, Any], str, str | None, str]] = [
    ({"input": ""}, "invalid_value", "input", "number 0 is empty"),
    ({"input": ["a", ""]}, "invalid_value", "input", "number 1 is empty"),
    ({"input": []}, "invalid_value", "input", "not empty"),
    ({"input": [[]]}, "invalid_value", "input", "number 0 is empty"),
    ({"input": ["a", 1]}, "invalid_value", "input", "texts only"),
    ({"input": [[1], "a"]}, "invalid_value", "input", "lists of token ids only"),
    ({"input": [True]}, "invalid_value", "input", "texts only"),
    ({"input": {"text": "a"}}, "invalid_value", "input", "must be a text"),
    ({"input": ["a"] * 2049}, "invalid_value", "input", "at most 2048"),
    ({"input": [-1]}, "invalid_value", "input", "-1 is no token id"),
    ({"input": [[999]]}, "invalid_value", "input", "no token 999"),
    ({"input": ["a", "x" * 500]}, "context_length_exceeded", "input", r"64 tokens, and input\[1\] has 501"),
    ({"input": "a", "dimensions": 17}, "invalid_value", "dimensions", "has 16, and 17 were asked for"),
    ({"input": "a", "dimensions": 0}, "invalid_value", "dimensions", "greater than or equal to 1"),
    ({"input": "a", "encoding_format": "int8"}, "invalid_value", "encoding_format", "float"),
    ({"input": "a", "truncate_prompt_tokens": 0}, "invalid_value", "truncate_prompt_tokens", "-1"),
    ({"input": "a", "model": "writer"}, "unsupported_model", "model", "writes text"),
    ({"input": "a", "model": "odd"}, "unsupported_model", "model", "writes text"),
    ({}, "missing_required_parameter", "input", "required"),
]


@pytest.mark.parametrize(("body", "code", "param", "message"), REFUSED, ids=[str(case[0])[:40] for case in REFUSED])
def test_refusals_are_typed(client: OpenAI, body: dict[str, Any], code: str, param: str | None, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.post("/embeddings", body={"model": "vectors"} | body, cast_to=object)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_an_encoder_writes_no_text(http: httpx.Client, path: str) -> None:
    body = {"model": "vectors", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    answer = http.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_model"


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Known models"):
        client.embeddings.create(model="gpt-9", input="x")
    with pytest.raises(openai.NotFoundError, match="cupola pull minilm"):
        client.embeddings.create(model="minilm", input="x")


def test_documents_come_by_their_cosine(http: httpx.Client) -> None:
    documents = [f"document {place}" for place in range(20)]
    query, *rows = (np.array(row) for row in vectors(ask(http, input=["which?", *documents])))
    expected = sorted(range(20), key=lambda place: -float(rows[place] @ query))
    answer = ask(http, "rerank", query="which?", documents=documents)
    assert [result["index"] for result in answer["results"]] == expected
    for result in answer["results"]:
        assert result["document"] == {"text": documents[result["index"]]}
        assert result["relevance_score"] == pytest.approx(float(rows[result["index"]] @ query), abs=1e-6)
    assert answer["usage"]["total_tokens"] == sum(len(text) + 1 for text in ["which?", *documents])
    best = ask(http, "rerank", query="which?", documents=[{"text": text} for text in documents], top_n=3,
               return_documents=False)  # fmt: skip
    assert [result["index"] for result in best["results"]] == expected[:3]
    assert "document" not in best["results"][0]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"query": "", "documents": ["a"]}, "invalid_value", "query"),
        ({"query": "a", "documents": []}, "invalid_value", "documents"),
        ({"query": "a", "documents": [""]}, "invalid_value", "documents"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "invalid_value", "top_n"),
        ({"query": "a", "documents": ["b", "x" * 500]}, "context_length_exceeded", r"documents\[1\] has 501"),
        ({"query": "x" * 500, "documents": ["b"]}, "context_length_exceeded", "query has 501"),
        ({"query": "a", "documents": ["b"], "model": "writer"}, "unsupported_model", "writes text"),
    ],
)
def test_rerank_refuses_with_a_reason(client: OpenAI, body: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.post("/rerank", body={"model": "vectors"} | body, cast_to=object)
    assert caught.value.code == code


def long_request(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/embeddings", json={"model": "slow", "input": ["y" * 60] * 80})  # 10 batches, a second


def users(server: RunningServer) -> int:
    return sum(model["users"] for model in server.residents() if model["id"].startswith("slow"))


def test_more_than_the_queue_holds_is_429(server: RunningServer, http: httpx.Client) -> None:
    http.post("/v1/embeddings", json={"model": "slow", "input": "x"}).raise_for_status()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: long_request(http), range(6)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) > 0


def test_a_client_that_leaves_frees_its_place(server: RunningServer, http: httpx.Client) -> None:
    body = {"model": "slow", "input": ["y" * 60] * 2000}  # 25 s
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/embeddings", json=body, timeout=httpx.Timeout(30, read=0.7))
    wait_for(lambda: users(server) == 0)
    assert http.post("/v1/embeddings", json={"model": "slow", "input": "x"}).elapsed.total_seconds() < 3


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX matter")
def test_a_worker_that_dies_is_told_and_replaced(server: RunningServer, http: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(long_request, http)
        wait_for(lambda: users(server) == 1)
        pid = next(model["pid"] for model in server.residents() if model["id"].startswith("slow") and model["pid"])
        os.kill(pid, signal.SIGKILL)
        answer = waiting.result()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "worker_died"
    assert http.post("/v1/embeddings", json={"model": "slow", "input": "x"}).status_code == 200


def test_prefer_bounds_the_wait_for_a_load(tmp_path: Path) -> None:
    add_fake_model(tmp_path, "late", tasks=TASKS, dimension=4, load_seconds=2.0)
    pull(tmp_path, "late")
    with running_server(tmp_path) as server, server.client() as http:
        body = {"model": "late", "input": "x"}
        hasty = http.post("/v1/embeddings", json=body, headers={"Prefer": "wait=0"})
        assert hasty.status_code == 503
        assert hasty.json()["error"]["code"] == "model_loading"
        assert len(http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]) == 4
