"""`options` of a request in Ollama's API: how the answer is sampled."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InvalidValue, UnsupportedField
from ...models.spec import Sampling
from ...types import SamplingParams
from ..schemas.common import MAX_STOPS, Penalty, Probability, StopString

NO_LIMITS = (-1, -2)  # until the model ends, until the context is full: both end with whichever comes first


class Options(BaseModel):
    """What says how a model is loaded (`num_ctx`, `num_gpu`, `num_thread`, ...) is ignored: the server's settings say
    it. Nothing is lost by that: a prompt that does not fit is refused, never cut."""

    model_config = ConfigDict(strict=True, extra="allow")

    # Other ways to sample, with the values at which they mean nothing.
    refused: ClassVar[dict[str, tuple[Any, ...]]] = {"mirostat": (0,), "tfs_z": (1, 0), "typical_p": (1, 0)}

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    min_p: Probability | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    num_predict: Annotated[int, Field(ge=-2, le=2**31 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None

    def check(self) -> None:
        """Raise UnsupportedField and InvalidValue for what cannot be honoured."""
        sent = self.model_extra or {}
        for name, harmless in self.refused.items():
            if sent.get(name) not in (None, *harmless):
                raise _unsupported(name, "this server cannot honour it; leave it out")
        penalised = self.repeat_penalty not in (None, 1) or self.presence_penalty or self.frequency_penalty
        if penalised and self.repeat_last_n not in (None, -1, 0):
            raise _unsupported("repeat_last_n", "penalties look at the whole sequence; send -1, or leave it out")
        if self.num_predict == 0:
            raise InvalidValue(
                "options.num_predict: it is a number above 0, or -1 for no limit.", param="options.num_predict"
            )

    def sampling(self, advised: Sampling) -> SamplingParams:
        """The parsed parameters; what the request leaves out is what the model's makers advise, not Ollama's values."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        unpenalised = self.repeat_last_n == 0
        return SamplingParams(
            temperature=advised.temperature if self.temperature is None else self.temperature,
            top_k=max(advised.top_k if self.top_k is None else self.top_k, 0),
            top_p=advised.top_p if self.top_p is None else self.top_p,
            min_p=advised.min_p if self.min_p is None else self.min_p,
            repetition_penalty=1.0 if unpenalised else self.repeat_penalty or advised.repetition_penalty,
            presence_penalty=0.0 if unpenalised else self.presence_penalty or 0.0,
            frequency_penalty=0.0 if unpenalised else self.frequency_penalty or 0.0,
            seed=None if self.seed is None else self.seed % 2**64,
            max_tokens=None if self.num_predict in NO_LIMITS else self.num_predict,
            stop=stop,
        )


def _unsupported(name: str, reason: str) -> UnsupportedField:
    return UnsupportedField(f"options.{name}: {reason}.", param=f"options.{name}")
