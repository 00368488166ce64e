"""What the OpenAPI document says beyond schemas: error bodies and streams."""

from typing import Any

from .schemas.errors import ErrorBody

EVENT_STREAM: dict[str, Any] = {
    "description": "The whole answer; with `stream: true` server-sent events that end with `[DONE]`.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is wrong; `param` names the field."},
    404: {"model": ErrorBody, "description": "No such model, or its files are not here."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    415: {"model": ErrorBody, "description": "The body is not JSON."},
    429: {"model": ErrorBody, "description": "Too many requests wait for this model; see Retry-After."},
    500: {"model": ErrorBody, "description": "The engine failed."},
    503: {"model": ErrorBody, "description": "The model is loading or its engine ended; see Retry-After."},
}
