"""The sentence encoder behind the API, with the official client, against sentence-transformers' own vectors."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from openai import OpenAI

from ..runners.test_encoder import EXPECTED, LEAST_COSINE, REFERENCE, cosines
from ..serving import RunningServer, running_server

pytestmark = pytest.mark.real
TEXTS = [entry.text for entry in REFERENCE.entries]


@pytest.fixture(scope="module")
def server(minilm_home: Path) -> Iterator[RunningServer]:
    with running_server(minilm_home) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_the_vectors_and_the_usage_are_the_models_own(client: OpenAI) -> None:
    answer = client.embeddings.create(model="minilm", input=TEXTS, extra_body={"truncate_prompt_tokens": -1})
    found = np.array([entry.embedding for entry in answer.data], np.float32)
    assert cosines(found, EXPECTED).min() > LEAST_COSINE
    assert answer.usage.prompt_tokens == sum(entry.tokens for entry in REFERENCE.entries)
    assert answer.model == "all-minilm-l6-v2"


def test_two_thousand_inputs_keep_their_order(client: OpenAI) -> None:
    short = [place for place, entry in enumerate(REFERENCE.entries) if entry.tokens < 16]
    places = [short[number % len(short)] for number in range(2048)]
    answer = client.embeddings.create(model="minilm", input=[TEXTS[place] for place in places], dimensions=64)
    found = np.array([entry.embedding for entry in answer.data], np.float32)
    assert found.shape == (2048, 64)
    assert cosines(found, EXPECTED[places, :64]).min() > LEAST_COSINE


def test_the_document_that_answers_comes_first(server: RunningServer) -> None:
    documents = ["A man is eating food.", "To change your password, open the settings.", "The stock market fell."]
    body = {"model": "minilm", "query": "How do I reset my password?", "documents": documents, "top_n": 1}
    with server.client() as http:
        best = msgspec.json.decode(http.post("/v1/rerank", json=body).content)["results"]
    assert [result["index"] for result in best] == [1]
    assert 0.5 < best[0]["relevance_score"] <= 1


def test_it_is_listed_with_its_context(client: OpenAI) -> None:
    model = client.models.retrieve("all-minilm").model_dump()
    assert (model["engine"], model["context_length"], model["quantization"]) == ("onnx", 256, "F32")
