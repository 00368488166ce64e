"""What is asked for is enforced, every time, at temperature 1. `--draws 25` makes 200 documents, 100 forced calls."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice

from server.models.registry import Registry
from server.models.store import Store
from server.settings import Settings

from ..serving import RunningServer, running_server

pytestmark = pytest.mark.real

CODER = "qwen2.5-coder-0.5b"
ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "minLength": 1, "maxLength": 16},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "express": {"type": "boolean"},
        "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
    },
    "required": ["item", "count", "express", "colours"],
    "additionalProperties": False,
}


def choices(server: RunningServer, model: str, question: str, draws: int, **options: Any) -> Iterator[Choice]:
    """Of so many requests with a seed each."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=110) as client:
        for seed in range(draws):
            answer: ChatCompletion = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": question}],
                temperature=1,
                seed=seed,
                max_tokens=100,
                **options,
            )
            yield from answer.choices


@pytest.mark.timeout(1200)
def test_documents_are_valid(real_server: RunningServer, request: pytest.FixtureRequest) -> None:
    draws = request.config.getoption("--draws")
    form = {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER, "strict": True}}
    found = list(choices(real_server, "smollm2", "Write an order of a shop as JSON.", draws, response_format=form, n=8))
    assert len(found) == draws * 8
    for choice in found:
        assert choice.finish_reason == "stop", choice
        jsonschema.validate(json.loads(choice.message.content or ""), ORDER)


@pytest.fixture(scope="module")
def coder_server(real_home: Path) -> Iterator[RunningServer]:
    store, registry = Store(real_home), Registry.load()
    model, variants = registry.resolve(CODER)
    store.pull(model, variants[0], Settings(home=real_home))
    with running_server(real_home) as server:
        yield server


@pytest.mark.timeout(1200)
def test_forced_calls_have_valid_arguments(coder_server: RunningServer, request: pytest.FixtureRequest) -> None:
    draws = request.config.getoption("--draws")
    function = {"name": "place_order", "description": "Order from the shop", "parameters": ORDER}
    options = {"tools": [{"type": "function", "function": function}], "tool_choice": "required", "n": 4}
    question = "Two red pens, quickly please."
    found = list(choices(coder_server, CODER, question, draws, parallel_tool_calls=False, **options))
    assert len(found) == draws * 4
    for choice in found:
        assert choice.finish_reason == "tool_calls", choice
        [call] = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "place_order"
        jsonschema.validate(json.loads(call.function.arguments), ORDER)
