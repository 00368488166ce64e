"""The Responses API against the real model, by the official client."""

from collections.abc import Iterator

import pytest
from openai import OpenAI
from pydantic import BaseModel

from ..serving import RunningServer

pytestmark = pytest.mark.real

QUESTION = "What is the capital of France?"


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
def client(real_server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_stream_folds_to_the_plain_answer(client: OpenAI) -> None:
    plain = client.responses.create(model="smollm2", input=QUESTION, temperature=0)
    assert "Paris" in plain.output_text
    assert plain.status == "completed"
    assert plain.model == "smollm2-135m-instruct"
    with client.responses.stream(model="smollm2", input=QUESTION, temperature=0) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == plain.output_text == stream.get_final_response().output_text
    assert client.responses.input_tokens.count(model="smollm2", input=QUESTION).input_tokens == (
        plain.usage and plain.usage.input_tokens
    )


def test_it_goes_on_from_what_was_said(client: OpenAI) -> None:
    first = client.responses.create(model="smollm2", input=QUESTION, temperature=0)
    second = client.responses.create(
        model="smollm2", input="And what did I ask?", previous_response_id=first.id, temperature=0, max_output_tokens=8
    )
    assert first.usage
    assert second.usage
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_an_answer_is_parsed_into_a_model(client: OpenAI) -> None:
    """The schema holds a model to its form that would never find it by itself."""
    answer = client.responses.parse(
        model="smollm2",
        input="Name a person and say how old they are.",
        text_format=Person,
        temperature=0,
        max_output_tokens=200,
    )
    assert isinstance(answer.output_parsed, Person)
