"""The OpenAPI document is complete, its examples are true, and docs/api.md names every route of it."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from server.app import create_app
from server.settings import Settings

DOCUMENT = create_app(Settings(home=Path("nowhere"))).openapi()
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
STREAMS = {
    "POST /v1/chat/completions": "text/event-stream",
    "POST /v1/completions": "text/event-stream",
    "POST /v1/responses": "text/event-stream",
    "POST /v1/messages": "text/event-stream",
    "POST /api/chat": "application/x-ndjson",
    "POST /api/generate": "application/x-ndjson",
    "POST /api/pull": "application/x-ndjson",
}
each_operation = pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])


def error_schema(name: str) -> str:
    """The component that errors of a route are, by the API that it belongs to."""
    path = name.partition(" ")[2]
    if path.startswith("/v1/messages"):
        return "AnthropicErrorBody"
    return "OllamaErrorBody" if path.startswith("/api/") else "ErrorBody"


@each_operation
def test_an_operation_is_described(name: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert "422" not in operation["responses"]


@each_operation
def test_errors_have_the_body_of_their_api(name: str, operation: dict[str, Any]) -> None:
    needed = {"403", "431", "500"}
    if "requestBody" in operation:
        needed |= {"400", "404", "413", "415", "429", "503"}
    if operation.get("parameters"):
        needed |= {"400", "404"}
    assert needed <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        if status != "200" and not name.startswith("GET /health"):  # health says "loading", which is no error
            reference = response["content"]["application/json"]["schema"]["$ref"]
            assert reference.rpartition("/")[2] == error_schema(name), status


@each_operation
def test_a_stream_has_its_media_type(name: str, operation: dict[str, Any]) -> None:
    kinds = operation["responses"]["200"]["content"].keys()
    assert kinds - {"application/json", "text/plain"} == ({STREAMS[name]} if name in STREAMS else set())


@each_operation
def test_examples_fit_their_schema(name: str, operation: dict[str, Any]) -> None:
    if "requestBody" not in operation:
        return
    content = operation["requestBody"]["content"]["application/json"]
    assert content["examples"]
    schema = {"components": DOCUMENT["components"], **content["schema"]}
    for example in content["examples"].values():
        jsonschema.Draft202012Validator(schema).validate(example["value"])


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r"'#/components/schemas/([^']+)'", str(DOCUMENT)))
    assert found == found & DOCUMENT["components"]["schemas"].keys()


def test_the_text_lists_the_same_routes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    told = set(re.findall(r"`((?:GET|POST|DELETE) /[^`]*)`", table))
    assert told == {name for name, _ in OPERATIONS}
