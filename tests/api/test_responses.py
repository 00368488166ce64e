"""The Responses API over a real socket, by the official client, without weights."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for
from .responding import folded, read, whole

ASK: dict[str, Any] = {"model": "fake", "input": "Hello", "temperature": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "slow", {"temperature": 0.5, "top_p": 0.9}, step_seconds=0.02, answer_tokens=100_000)
    add_fake_model(home, "broken", fail_load="The weights are bent.")
    pull(home, "slow", "broken")
    with running_server(home, slots="1", stored_responses="8", background_responses="2") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def users(server: RunningServer, model: str) -> int:
    return next((r["users"] for r in server.residents() if r["id"].startswith(f"{model}@")), 0)


def test_a_stream_folds_to_the_plain_answer(http: httpx.Client) -> None:
    plain = whole(http.post("/v1/responses", json=ASK).json())
    answer = http.post("/v1/responses", json=ASK | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = read(answer.text)
    assert folded(events) == events[-1]["response"]["output"]
    assert events[-1]["type"] == f"response.{plain['status']}"
    assert folded(events)[0]["content"] == plain["output"][0]["content"]
    assert folded(events)[0]["content"][0]["text"]
    assert whole(http.get(f"/v1/responses/{events[-1]['response']['id']}").json()) == events[-1]["response"]


def test_the_helper_of_the_client_streams(client: OpenAI) -> None:
    with client.responses.stream(**ASK) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text == client.responses.create(**ASK).output_text


def test_an_answer_repeats_the_request_with_its_defaults(client: OpenAI) -> None:
    answer = client.responses.create(
        model="slow", input="Hello", max_output_tokens=2, metadata={"a": "b"}, instructions="Be brief.", user="me"
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert (answer.temperature, answer.top_p, answer.max_output_tokens) == (0.5, 0.9, 2)
    assert (answer.metadata, answer.instructions, answer.user) == ({"a": "b"}, "Be brief.", "me")
    assert answer.usage
    assert answer.usage.output_tokens == 2
    assert answer.usage.total_tokens == answer.usage.input_tokens + 2


def test_log_probabilities_come_where_they_are_included(http: httpx.Client) -> None:
    asked = ASK | {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 5}
    answer = whole(http.post("/v1/responses", json=asked).json())
    logprobs = answer["output"][0]["content"][0]["logprobs"]
    assert len(logprobs) == 5
    assert all(len(one["top_logprobs"]) == 2 for one in logprobs)
    events = read(http.post("/v1/responses", json=asked | {"stream": True}).text)
    assert folded(events)[0]["content"][0]["logprobs"] == logprobs


def test_a_response_goes_on_from_another(client: OpenAI) -> None:
    first = client.responses.create(**ASK, instructions="Answer in verse.")
    second = client.responses.create(**ASK | {"input": "And then?"}, previous_response_id=first.id)
    by_hand = client.responses.create(
        **ASK
        | {
            "input": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": first.output_text},
                {"role": "user", "content": "And then?"},
            ]
        },
        store=False,
    )
    assert second.output_text == by_hand.output_text
    assert second.usage
    assert by_hand.usage
    assert second.usage.input_tokens == by_hand.usage.input_tokens
    client.responses.delete(first.id)  # its successors have their own history
    third = client.responses.create(**ASK | {"input": "More."}, previous_response_id=second.id)
    told = [item.to_dict() for item in client.responses.input_items.list(third.id, order="asc", limit=2)]
    assert [item["role"] for item in told] == ["user", "assistant", "user", "assistant", "user"]
    assert [item["content"][0]["text"] for item in told if item["role"] == "user"] == ["Hello", "And then?", "More."]  # type: ignore[index]
    newest = client.responses.input_items.list(third.id, limit=1)
    assert newest.data[0].to_dict() == told[-1]
    assert newest.has_more


def test_an_item_may_be_referred_to(client: OpenAI) -> None:
    first = client.responses.create(**ASK)
    asked: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "Go on."}]
    second = client.responses.create(**ASK | {"input": asked})
    told = client.responses.input_items.list(second.id, order="asc").data
    assert told[0].to_dict() == first.output[0].to_dict()


def test_what_is_not_stored_or_was_deleted_is_not_found(client: OpenAI) -> None:
    unstored = client.responses.create(**ASK, store=False)
    deleted = client.responses.create(**ASK)
    assert client.responses.retrieve(deleted.id).output_text == deleted.output_text
    client.responses.delete(deleted.id)
    for gone in (unstored.id, deleted.id, "resp_x"):
        for ask in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                ask(gone)
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(**ASK, previous_response_id=gone)
        assert (caught.value.code, caught.value.param) == ("not_found", "previous_response_id")


def test_the_oldest_make_room(client: OpenAI) -> None:
    ids = [client.responses.create(**ASK, max_output_tokens=1).id for _ in range(9)]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(ids[0])
    assert client.responses.retrieve(ids[1]).id == ids[1]


def test_tokens_of_the_input_are_counted(client: OpenAI) -> None:
    answer = client.responses.create(**ASK, instructions="Be brief.")
    counted = client.responses.input_tokens.count(model="fake", input="Hello", instructions="Be brief.")
    assert answer.usage
    assert counted.input_tokens == answer.usage.input_tokens


def test_a_background_response_ends_by_itself(client: OpenAI) -> None:
    begun = client.responses.create(**ASK, background=True)
    assert begun.status == "queued"
    wait_for(lambda: client.responses.retrieve(begun.id).status == "completed")
    assert client.responses.retrieve(begun.id).output_text == client.responses.create(**ASK).output_text
    assert client.responses.cancel(begun.id).status == "completed"


def test_a_background_response_can_be_stopped(client: OpenAI, server: RunningServer) -> None:
    begun = client.responses.create(model="slow", input="Hello", background=True)
    wait_for(lambda: client.responses.retrieve(begun.id).output_text != "")
    assert client.responses.retrieve(begun.id).status == "in_progress"
    with pytest.raises(openai.BadRequestError, match="not ended"):
        client.responses.create(**ASK, previous_response_id=begun.id)
    assert client.responses.input_items.list(begun.id).data
    stopped = client.responses.cancel(begun.id)
    assert stopped.status == "cancelled"
    assert stopped.output_text
    wait_for(lambda: users(server, "slow") == 0, seconds=1.0)
    assert client.responses.retrieve(begun.id) == stopped


def test_background_responses_are_bounded_and_deleting_one_stops_it(client: OpenAI, server: RunningServer) -> None:
    begun = [client.responses.create(model="slow", input="Hello", background=True) for _ in range(2)]
    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model="slow", input="Hello", background=True)
    assert caught.value.response.headers["retry-after"]
    for one in begun:
        client.responses.delete(one.id)
    wait_for(lambda: users(server, "slow") == 0, seconds=1.0)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(begun[0].id)


def test_a_background_response_that_fails_says_why(client: OpenAI) -> None:
    begun = client.responses.create(model="broken", input="Hello", background=True)
    wait_for(lambda: client.responses.retrieve(begun.id).status == "failed")
    error = client.responses.retrieve(begun.id).error
    assert error
    assert (error.code, error.message) == ("server_error", "The weights are bent.")


def test_only_a_background_response_can_be_stopped(client: OpenAI) -> None:
    answer = client.responses.create(**ASK)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(answer.id)
    with pytest.raises(openai.BadRequestError, match="not streamed again"):
        client.responses.retrieve(answer.id, stream=True)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(server: RunningServer, stream: bool) -> None:
    raw = json.dumps({"model": "slow", "input": "Hello", "max_output_tokens": 1500, "stream": stream}).encode()
    with server.client() as http:
        http.post("/v1/responses", json={"model": "slow", "input": "Hello", "max_output_tokens": 1})
    with closing(socket.create_connection((httpx.URL(server.url).host, httpx.URL(server.url).port or 80))) as leaver:
        head = "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        leaver.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        wait_for(lambda: users(server, "slow") == 1)
    wait_for(lambda: users(server, "slow") == 0, seconds=1.0)


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"input": []}, 400, "invalid_value", "input"),
        ({"input": 3}, 400, "invalid_type", "input"),
        ({"input": [{"role": "user", "content": 3}]}, 400, "invalid_type", "input.0.content"),
        ({"input": [{"type": "web_search_call"}]}, 400, "invalid_value", "input.0"),
        ({"input": [3]}, 400, "invalid_type", "input.0"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            400,
            "invalid_value",
            "input.0.content.0",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, 400, "invalid_value", "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, 400, "invalid_value", "input"),
        ({"input": [{"type": "item_reference", "id": "msg_x"}]}, 404, "not_found", "input"),
        ({"tools": [{"type": "web_search"}]}, 400, "unsupported_parameter", "tools.0.type"),
        ({"tool_choice": "required"}, 400, "invalid_value", None),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, 400, "invalid_value", "text.format"),
        ({"conversation": "conv_1"}, 400, "unsupported_parameter", "conversation"),
        ({"background": True, "stream": True}, 400, "unsupported_parameter", "stream"),
        ({"background": True, "store": False}, 400, "invalid_value", None),
        ({"metadata": {"a": "b" * 513}}, 400, "invalid_value", "metadata.a"),
        ({"max_output_tokens": 10**6, "stream": True}, 400, "context_length_exceeded", "max_output_tokens"),
    ],
)
def test_errors_are_typed(
    http: httpx.Client, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    answer = http.post("/v1/responses", json=ASK | fields)
    assert answer.status_code == status, answer.text
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (code, param)


def test_a_stream_that_was_left_can_be_asked_for(http: httpx.Client, server: RunningServer) -> None:
    with http.stream("POST", "/v1/responses", json={"model": "slow", "input": "Hello", "stream": True}) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        said = json.loads(next(lines)[6:])
        while json.loads(next(lines)[6:])["type"] != "response.output_text.delta":
            pass
    wait_for(lambda: users(server, "slow") == 0, seconds=2.0)
    kept = whole(http.get(f"/v1/responses/{said['response']['id']}").json())
    assert kept["status"] == "cancelled"
    assert kept["output"][0]["content"][0]["text"]
