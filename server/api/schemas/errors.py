"""The error bodies that endpoints answer with, one for each API."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator


def _writable(text: object) -> object:
    """A message may quote what was sent, and JSON can spell half a character, which UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text


Told = Annotated[str, BeforeValidator(_writable)]


class ErrorDetail(BaseModel):
    message: Told
    type: str
    param: Told | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorDetail


class AnthropicErrorDetail(BaseModel):
    type: str
    message: str


class AnthropicErrorBody(BaseModel):
    """An error of Anthropic's API."""

    type: Literal["error"]
    error: AnthropicErrorDetail


class OllamaErrorBody(BaseModel):
    """An error of Ollama's API: a sentence."""

    error: str
