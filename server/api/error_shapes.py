"""How an error looks, by the API that a path belongs to. One error, three dialects."""

from collections.abc import Callable
from typing import Any

from .schemas.errors import ErrorDetail

Shape = Callable[[int, ErrorDetail], dict[str, Any]]

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def openai(_: int, detail: ErrorDetail) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`"""
    return {"error": detail.model_dump()}


def anthropic(status: int, detail: ErrorDetail) -> dict[str, Any]:
    """`{"type": "error", "error": {"type", "message"}}`. Its types go by the status."""
    other = "invalid_request_error" if status < 500 else "api_error"
    kind = _ANTHROPIC_TYPES.get(status, other)
    return {"type": "error", "error": {"type": kind, "message": detail.message}}


def ollama(_: int, detail: ErrorDetail) -> dict[str, Any]:
    """`{"error": "a sentence"}`"""
    return {"error": detail.message}


def foundry_download(_: int, detail: ErrorDetail) -> dict[str, Any]:
    """OpenAI's, in what ends a download of Foundry Local: its Python client reads no status, only that."""
    return {"success": False, "errorMessage": detail.message, "error": detail.model_dump()}


def shape_of(path: str) -> Shape:
    """The shape that clients of this path expect, also where there is no such path."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return anthropic
    if path in {"/openai/download", "/openai/upgrade"}:
        return foundry_download
    return ollama if path.startswith("/api/") else openai
