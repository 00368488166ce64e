"""What tests of completions share: asking, and folding a stream."""

import json
from typing import Any

import httpx

from ..serving import RunningServer


def post(server: RunningServer, path: str, **body: Any) -> httpx.Response:
    with server.client() as http:
        return http.post(path, json=body)


def complete(server: RunningServer, **body: Any) -> dict[str, Any]:
    """A whole answer."""
    answer = post(server, "/v1/completions", **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def streamed(server: RunningServer, **body: Any) -> dict[str, Any]:
    """The same as a stream, folded into the shape of a whole answer."""
    answer = post(server, "/v1/completions", **body, stream=True, stream_options={"include_usage": True})
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["choices"] == []
    choices: dict[int, dict[str, Any]] = {}
    for event in events[:-1]:
        for choice in event["choices"]:
            fold(choices.setdefault(choice["index"], {}), choice)
    return {"choices": [choices[index] for index in sorted(choices)], "usage": events[-1]["usage"]}


def fold(whole: dict[str, Any], choice: dict[str, Any]) -> None:
    """Add an event of a choice to what there is of it."""
    assert not whole.get("finish_reason"), "an event after the last one"
    whole["index"] = choice["index"]
    whole["text"] = whole.get("text", "") + choice["text"]
    whole["finish_reason"] = choice["finish_reason"]
    if choice.get("logprobs"):
        earlier = whole.setdefault("logprobs", {})
        for name, values in choice["logprobs"].items():
            earlier[name] = values if values is None else (earlier.get(name) or []) + values
    else:
        whole.setdefault("logprobs", None)


def refused(server: RunningServer, path: str = "/v1/completions", **body: Any) -> tuple[int, str, str | None]:
    """Status, code and param of a refusal."""
    answer = post(server, path, **body)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]
