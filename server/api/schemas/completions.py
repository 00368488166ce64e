"""POST /v1/completions."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...types import FinishReason
from .common import GenerationRequest, Text, UsageBody

TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class CompletionRequest(GenerationRequest):
    """Text to continue, or the token ids of it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 32}]}
    )

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "n": (1,),
        "best_of": (1,),
        "echo": (False,),
        "logprobs": (),
        "suffix": ("",),
    }

    prompt: (
        Text | Annotated[list[TokenId], Field(min_length=1)] | Annotated[list[Text], Field(min_length=1, max_length=1)]
    )

    @property
    def single_prompt(self) -> str | list[int]:
        """The prompt; a list of one text is that text."""
        if isinstance(self.prompt, str):
            return self.prompt
        first = self.prompt[0]
        return first if isinstance(first, str) else [int(token) for token in self.prompt]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Completion(BaseModel):
    """The whole answer, or one event of a stream (OpenAI uses one shape for both)."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageBody | None = None
