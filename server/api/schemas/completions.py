"""POST /v1/completions."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ...errors import InvalidValue, UnsupportedField
from ...types import FinishReason
from .common import GenerationRequest, Text, Timings, UsageBody
from .guided import GuidedFields

MOST_PROMPTS = 128
MOST_CHOICES = 128  # of one prompt
MOST_IN_ALL = 1024  # continuations of one request
MOST_LIKELY = 20

TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[TokenId], Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS)]
ManyTokens = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_PROMPTS)]


def _shape(value: object) -> str:
    """Which of the shapes a prompt has, by its first entry, so that a complaint is about that shape."""
    if not isinstance(value, list):
        return "str"
    first = value[0] if value else ""
    if isinstance(first, list):
        return "list[list[int]]"
    return "list[str]" if isinstance(first, str) else "list[int]"


Prompt = Annotated[
    Annotated[Text, Tag("str")]
    | Annotated[Tokens, Tag("list[int]")]
    | Annotated[Texts, Tag("list[str]")]
    | Annotated[ManyTokens, Tag("list[list[int]]")],
    Discriminator(_shape),
]
Count = Annotated[int, Field(ge=1, le=MOST_CHOICES)]


class CompletionRequest(GuidedFields, GenerationRequest):
    """Text to continue, or the token ids of it; one or several."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 32}]}
    )

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {
        "prompt_logprobs": (),
        "prompt_embeds": (),
        "use_beam_search": (False,),
    }

    prompt: Prompt
    suffix: Annotated[Text | None, Field(description="What comes after the gap, for a model that fills it in")] = None
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1, description="0: the prompt alone")] | None = None
    n: Count | None = None
    best_of: Annotated[Count | None, Field(description="Generate so many, answer with the `n` likeliest")] = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELY)] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one or several."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    @property
    def choices(self) -> int:
        """Choices of each prompt in the answer."""
        return self.n or 1

    @property
    def candidates(self) -> int:
        """Continuations of each prompt that are generated."""
        return self.best_of or self.choices

    def refuse_incoherent(self) -> None:
        """Raise InvalidValue or UnsupportedField for fields that do not go together."""
        if self.candidates < self.choices:
            raise InvalidValue(f"best_of: {self.best_of} is less than the {self.choices} of n.", param="best_of")
        if self.stream and self.candidates > self.choices:
            raise InvalidValue("best_of: which is best is known at the end, so it is no stream.", param="best_of")
        if len(self.prompts) * self.candidates > MOST_IN_ALL:
            raise InvalidValue(
                f"prompt: {len(self.prompts)} prompts with {self.candidates} continuations each are more than the"
                f" {MOST_IN_ALL} that a request may have.",
                param="prompt",
            )
        if self.suffix and self.echo:
            raise UnsupportedField("echo: a text around a gap cannot be echoed; leave it out.", param="echo")
        if self.max_tokens == 0 and self.min_tokens:
            raise InvalidValue(f"min_tokens: {self.min_tokens} is more than max_tokens, 0.", param="min_tokens")


class CompletionLogprobs(BaseModel):
    """One entry a token. The first token of an echoed prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]

    def extend(self, later: "CompletionLogprobs") -> None:
        """Add those of the tokens that follow."""
        self.tokens += later.tokens
        self.token_logprobs += later.token_logprobs
        self.text_offset += later.text_offset
        if self.top_logprobs is not None and later.top_logprobs is not None:
            self.top_logprobs += later.top_logprobs


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
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
    timings: Timings | None = None
