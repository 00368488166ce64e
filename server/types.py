"""What a request is once the border has parsed it, and what comes back.

These types cross the pipe between the server process and a worker, so they are plain msgspec structures: no
behaviour, no engine, no HTTP.
"""

from typing import Literal

from msgspec import Struct

FinishReason = Literal["stop", "length"]


class SamplingParams(Struct, frozen=True, omit_defaults=True):
    """How the next token is drawn. The border has checked every range; see `server.engine.sampler` for the formulas."""

    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 keeps the whole vocabulary
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    max_tokens: int | None = None  # None: until the context is full
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


class Request(Struct, frozen=True):
    """One sequence to generate.

    `prompt` is text (tokenised in the worker) or token ids. `special` says whether text like `<|im_end|>` in the
    prompt names the special token: true for a rendered chat template, and for a completion prompt as its peers do.
    """

    id: str
    prompt: str | list[int]
    params: SamplingParams
    special: bool = True
    cache_prompt: bool = True


class Usage(Struct, frozen=True):
    """Token counts of one request; `cached_tokens` is the part of the prompt whose KV entries were reused."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Delta(Struct, frozen=True, omit_defaults=True):
    """What a request gained in one or more engine steps. The last delta of a request carries `finish` and `usage`."""

    text: str = ""
    tokens: int = 0
    finish: FinishReason | None = None
    usage: Usage | None = None

    def merged(self, later: "Delta") -> "Delta":
        """This delta followed by a later one of the same request, for a reader that lags behind."""
        return Delta(self.text + later.text, self.tokens + later.tokens, later.finish, later.usage)
