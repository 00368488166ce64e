"""Fields that chat and text completions share."""

from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from ...errors import UnsupportedField
from ...models.spec import Sampling
from ...quantities import Seconds
from ...types import SamplingParams, Usage

MAX_STOPS = 16
MAX_BIASES = 1024

T = TypeVar("T")


def _whole_characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


# JSON can spell half a character ("\ud800"), which no tokenizer and no UTF-8 can take.
Text = Annotated[str, AfterValidator(_whole_characters)]
StopString = Annotated[Text, StringConstraints(min_length=1, max_length=256)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# Seconds, or like "10m"; any negative number, as Ollama has it, is for ever.
KeepAlive = Annotated[Seconds, AfterValidator(lambda seconds: seconds if seconds >= 0 else -1.0)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    model_config = ConfigDict(strict=True)

    include_usage: bool = False


class GenerationRequest(BaseModel):
    """Sampling fields of OpenAI, and those that vLLM and llama-server add under one name.

    Unknown fields are ignored. A field that would change the meaning and cannot be honoured is refused by name: it maps
    to the values at which it means nothing.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    refused: ClassVar[dict[str, tuple[Any, ...]]] = {}

    model: Annotated[Text, StringConstraints(min_length=1, max_length=512)]
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000, description="0 or -1: no limit")] | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=MAX_BIASES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS)] | None = None
    ignore_eos: bool = False
    cache_prompt: bool = True
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    keep_alive: Annotated[
        KeepAlive | None,
        Field(description="seconds after its last use at which the model is unloaded, or like '10m'; -1: never"),
    ] = None

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, biases: dict[str, float] | None) -> dict[str, float] | None:
        if biases and not all(key.isascii() and key.isdigit() and len(key) < 10 for key in biases):
            raise ValueError("keys must be token ids")
        return biases

    @model_validator(mode="after")
    def _fewer_at_least_than_at_most(self) -> Self:
        if self.min_tokens and self.token_limit and self.min_tokens > self.token_limit:
            raise ValueError(
                f"min_tokens: {self.min_tokens} is more than the {self.token_limit} tokens asked for at most"
            )
        return self

    def refuse_unsupported(self) -> None:
        """Raise UnsupportedField for a field that was sent and cannot be honoured."""
        sent = self.model_extra or {}
        for name, harmless in self.refused.items():
            if name in sent and sent[name] not in (None, *harmless):
                raise UnsupportedField(f"{name}: this server cannot honour it; leave it out.", param=name)

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens

    def sampling(self, advised: Sampling) -> SamplingParams:
        """The parsed sampling parameters; what the request leaves out is what the model's makers advise."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return SamplingParams(
            temperature=_given(self.temperature, advised.temperature),
            top_k=max(_given(self.top_k, advised.top_k), 0),
            top_p=_given(self.top_p, advised.top_p),
            min_p=_given(self.min_p, advised.min_p),
            repetition_penalty=_given(self.repetition_penalty, advised.repetition_penalty),
            presence_penalty=_given(self.presence_penalty, 0.0),
            frequency_penalty=_given(self.frequency_penalty, 0.0),
            logit_bias={int(token): bias for token, bias in (self.logit_bias or {}).items()},
            seed=None if self.seed is None else self.seed % 2**64,
            max_tokens=self.token_limit,
            min_tokens=_given(self.min_tokens, 0),
            stop=stop,
            ignore_eos=self.ignore_eos,
        )

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


class PromptTokensDetails(BaseModel):
    cached_tokens: int


class UsageBody(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails

    @classmethod
    def of(cls, usage: Usage) -> "UsageBody":
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        )


class Timings(BaseModel):
    """What llama-server adds under this name: tokens, milliseconds, and tokens per second (0 where nothing ran)."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float

    @classmethod
    def of(cls, usage: Usage) -> "Timings":
        computed = usage.prompt_tokens - usage.cached_tokens
        later = max(usage.completion_tokens - 1, 0)
        return cls(
            cache_n=usage.cached_tokens,
            prompt_n=computed,
            prompt_ms=usage.prompt_seconds * 1000,
            prompt_per_second=computed / usage.prompt_seconds if usage.prompt_seconds else 0.0,
            predicted_n=usage.completion_tokens,
            predicted_ms=usage.decode_seconds * 1000,
            predicted_per_second=later / usage.decode_seconds if usage.decode_seconds else 0.0,
        )
