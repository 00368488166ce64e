"""What the server answers is what its OpenAPI document says. `pytest tests/api/test_schemathesis.py --calls 5000`."""

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ..serving import RunningServer, add_fake_model, pull, running_server
from .fuzzing import ENCODER, Fuzz

SEED = 20_260


@pytest.mark.timeout(7200)  # as many calls as one asks for
def test_every_answer_is_as_documented(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = tmp_path / "home"
    add_fake_model(home, ENCODER, tasks=("embeddings",), dimension=8)
    pull(home, ENCODER)
    with running_server(home) as server:
        fuzz = Fuzz(server.url, Random(SEED))
        fuzz.run(request.config.getoption("--calls"))
        sys.stdout.write(fuzz.report())  # `-s` shows it
        with server.client() as http:
            assert http.get("/health").status_code == 200
    assert not fuzz.unreached
    assert not fuzz.failures, "\n\n".join(f"{key}\n{told}" for key, told in fuzz.failures.items())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "\ud800", "text": "a"}]}]}),
        ("/v1/messages", {"max_tokens": 4, "messages": [{"role": "user", "content": [{"type": "\ud800"}]}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": {}, "text": "a"}]}]}),
    ],
)
def test_the_type_of_a_part_may_be_anything(fake_server: RunningServer, path: str, body: dict[str, Any]) -> None:
    """These were unforeseen errors: half a character in a message about it, and a type that cannot be in a set."""
    content = json.dumps({"model": "fake", **body}).encode()
    with fake_server.client() as http:
        answer = http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]
