"""What the OpenAPI document says beyond the routes' own schemas: errors in the dialect of their path, and examples.

The framework would promise 422 with a body of its own, and nothing of what the border refuses. Which status an
operation can have follows from what it takes, so routes do not list theirs.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .documents import SCHEMAS
from .error_shapes import Shape, anthropic, foundry_download, ollama, openai, shape_of
from .examples import EXAMPLES
from .schemas.chat_answer import ChatChunk
from .schemas.errors import AnthropicErrorBody, ErrorBody, OllamaErrorBody

_BODIES: dict[Shape, type[BaseModel]] = {
    openai: ErrorBody,
    anthropic: AnthropicErrorBody,
    ollama: OllamaErrorBody,
    foundry_download: ErrorBody,  # with two fields more
}
_FRAMEWORKS = ("HTTPValidationError", "ValidationError")

ALWAYS = {
    403: "`Host` does not name this machine.",
    431: "Too many headers, or too large ones.",
    500: "The engine failed, or the server did; its log has more.",
}
SENT = {
    413: "The body is too large.",
    415: "The body is compressed, or its Content-Type is not application/json; that is needed without a body too.",
}
ASKED = {400: "The request is wrong; the message names the field."}
NAMED = {404: "There is nothing of this name, or its files are not here."}
COMPUTED = {
    429: "Too many requests wait for this model; see Retry-After.",
    503: "The model is loading, there is no room for it, or its engine ended; see Retry-After.",
}
PULLED = {502: "The source of the files cannot be reached, or does not have them."}
PULLING = frozenset({"/api/pull", "/openai/download", "/openai/upgrade"})
LOADING = frozenset({"/openai/load/{name}", "/models/load/{name}"})
UNLOADING = frozenset({"/openai/unload/{name}", "/models/unload/{name}"})
IN_USE = {409: "The model is in use."}
_RETRY = {"Retry-After": {"description": "Seconds until another try makes sense.", "schema": {"type": "integer"}}}


class Documented(FastAPI):
    """An application with a complete document."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with every error and an example for every body. It is changed in place."""
    schemas = document["components"]["schemas"]
    for name in _FRAMEWORKS:
        schemas.pop(name, None)
    beside: list[type[BaseModel]] = [*_BODIES.values(), ChatChunk]  # what no route returns as it is
    _, found = models_json_schema([(model, "serialization") for model in beside], ref_template=SCHEMAS + "{model}")
    schemas.update(found["$defs"])
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            for status, description in statuses_of(path, method, operation).items():
                operation["responses"].setdefault(str(status), _error(status, description, shape_of(path)))
            if "requestBody" in operation:
                operation["requestBody"]["content"]["application/json"]["examples"] = {
                    name: {"value": value} for name, value in EXAMPLES[path].items()
                }
    return document


def statuses_of(path: str, method: str, operation: dict[str, Any]) -> dict[int, str]:
    """The errors that an operation can answer with, and what they mean."""
    found = dict(ALWAYS)
    if method == "post":
        found |= SENT
    if "requestBody" in operation:
        found |= ASKED | NAMED | COMPUTED
    if operation.get("parameters"):
        found |= ASKED | NAMED  # what is in the path has a name, and a header comes with a body
    found |= COMPUTED if path in LOADING else {}
    found |= IN_USE if path in UNLOADING else {}
    return found | PULLED if path in PULLING else found


def _error(status: int, description: str, shape: Shape) -> dict[str, Any]:
    schema = {"$ref": SCHEMAS + _BODIES[shape].__name__}
    response: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return response | {"headers": _RETRY} if status in COMPUTED else response
