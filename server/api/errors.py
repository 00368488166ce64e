"""Every error as the body that the API of its path answers with, and with the right status."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import CupolaError
from .accounting import HEADER, account
from .error_shapes import Shape, openai, shape_of
from .schemas.errors import ErrorBody, ErrorDetail

# Pydantic's error types, by what OpenAI calls them; the rest are values out of range.
_FRAMEWORK = {
    400: ("The body is not JSON that can be read: it nests too deeply or has an endless number.", "invalid_json"),
    404: ("There is no such URL; /openapi.json lists them.", "unknown_url"),
    405: ("This URL does not take this method; /openapi.json says which it takes.", "method_not_allowed"),
}
_PLACES = {"body", "query", "path"}
_CODES = {"missing": "missing_required_parameter", "json_invalid": "invalid_json"}


def detail_of(error: CupolaError) -> ErrorDetail:
    return ErrorDetail(message=error.message, type=error.type, param=error.param, code=error.code)


def error_body(error: CupolaError) -> ErrorBody:
    return ErrorBody(error=detail_of(error))


def error_response(error: CupolaError, shape: Shape = openai) -> JSONResponse:
    account().error = error.code
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(shape(error.status, detail_of(error)), error.status, headers)


def install(app: FastAPI) -> None:
    """Answer every exception with an error body; only the log sees what an unforeseen one was."""
    app.add_exception_handler(CupolaError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CupolaError)
    return error_response(error, shape_of(request.url.path))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    message, param, code = describe_invalid(error.errors())
    account().error = code
    detail = ErrorDetail(message=message, type="invalid_request_error", param=param, code=code)
    return JSONResponse(shape_of(request.url.path)(400, detail), 400)


async def _http(request: Request, error: Exception) -> JSONResponse:
    """The framework's own: a body it cannot parse (400), no such route (404), no such method (405)."""
    assert isinstance(error, HTTPException)
    message, code = _FRAMEWORK.get(error.status_code, (str(error.detail), None))
    account().error = code
    detail = ErrorDetail(message=message, type="invalid_request_error", param=None, code=code)
    account().error = code
    body = shape_of(request.url.path)(error.status_code, detail)
    return JSONResponse(body, error.status_code, error.headers)


async def _unforeseen(request: Request, _: Exception) -> JSONResponse:
    """The HTTP server logs the exception itself."""
    error = CupolaError("The server met an unforeseen error; its log has the details.")
    response = error_response(error, shape_of(request.url.path))
    response.headers[HEADER] = account().id  # this answer is made outside of who adds it to the others
    return response


def describe_invalid(errors: Sequence[Any]) -> tuple[str, str | None, str]:
    """Message, parameter and code of a failed validation.

    Of a union's many complaints one in our own words is told, where there is one, and else the first.
    """
    place = _path(errors[0])
    ours = (error for error in errors if error["type"] == "value_error" and _path(error)[: len(place)] == place)
    first = next(ours, errors[0]) if errors[0]["type"].endswith("_type") else errors[0]
    path = _path(first)
    code = _CODES.get(first["type"]) or ("invalid_type" if first["type"].endswith("_type") else "invalid_value")
    if code == "invalid_json":
        return f"The body is not valid JSON: {first.get('ctx', {}).get('error', 'syntax error')}.", None, code
    param = ".".join(path) or None
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "missing" else f" (got {_excerpt(first.get('input'))})"
    return f"{param or 'body'}: {message}{given}", param, code


def _path(error: Any) -> list[str]:
    """A location also names the place in the request and the member of a union; clients know neither."""
    steps = error["loc"][1:] if error["loc"][:1] and error["loc"][0] in _PLACES else error["loc"]
    return [str(step) for step in steps if step != "str" and "[" not in str(step)]


def _excerpt(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=True)
    return text if len(text) <= 80 else f"{text[:77]}..."
