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
    max_tokens: int | None = None  # None: until the context is full; 0: nothing, the prompt is scored only
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


Thought = Literal["none", "may", "inside"]


class Grammar(Struct, frozen=True):
    """What the answer has to match, as llguidance reads it: a JSON Schema, a regular expression or a Lark grammar.

    A grammar of `calls` is Lark of our own, whose markers become special tokens; a user's Lark is never edited.
    `param` is the field of the request that asked for it, for errors. `json` says that the text is JSON, or JSON with
    marks around it: its numbers are then kept short, and it is closed before the tokens run out. `thought`: what the
    answer has to match comes after a thought, which it may begin with, or is inside from its first token.
    """

    kind: Literal["json_schema", "regex", "lark", "calls"]
    source: str
    param: str = "response_format"
    json: bool = False
    thought: Thought = "none"


class Adapter(Struct, frozen=True):
    """A LoRA adapter: a file for the engine that runs the model; `scale` multiplies its change of the weights."""

    name: str
    path: str
    scale: float = 1.0


class Request(Struct, frozen=True):
    """One prompt to continue, `n` times, by the model as it is or with an adapter.

    `prompt` is text (tokenised in the worker) or token ids. `special` says whether text like `<|im_end|>` in the
    prompt names the special token: true for a rendered chat template, and for a completion prompt as its peers do.
    `logprobs` asks for the log-probability of each token and of that many likeliest ones (None: of none), and
    `prompt_logprobs` the same of the prompt's tokens. Special tokens of `shown` appear in the
    text, as tool formats want.
    """

    id: str
    prompt: str | list[int]
    params: SamplingParams
    special: bool = True
    cache_prompt: bool = True
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: Grammar | None = None
    shown: tuple[str, ...] = ()
    adapter: Adapter | None = None


def sequence_id(request_id: str, index: int) -> str:
    """What a continuation of a request is called on the way back."""
    return f"{request_id}/{index}" if index else request_id


class Usage(Struct, frozen=True):
    """Token counts of one sequence; `cached_tokens` is the part of the prompt whose KV entries were reused.

    Seconds: until the sequence got a slot, from then to the first token, and from that to the last one.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float = 0.0
    prompt_seconds: float = 0.0
    decode_seconds: float = 0.0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Likely(Struct, frozen=True, array_like=True):
    """A token, its bytes, and its log-probability (natural logarithm, of the model's own distribution)."""

    token: int
    text: bytes
    logprob: float


class TokenLogprob(Struct, frozen=True, array_like=True):
    """A token of the answer or the prompt, and the likeliest tokens of its position, best first.

    `logprob` is None for the first token of a prompt, which nothing predicts.
    """

    token: int
    text: bytes
    logprob: float | None
    top: tuple[Likely, ...] = ()


class Delta(Struct, frozen=True, omit_defaults=True):
    """What one continuation of a request gained in one or more engine steps.

    `index` says which continuation. Its last delta carries `finish` and `usage`, and `stop` where a stop string ended
    it. `prompt` comes once, with the first delta, where the prompt's log-probabilities were asked for.
    """

    text: str = ""
    tokens: int = 0
    finish: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt: tuple[TokenLogprob, ...] = ()
    stop: str | None = None

    def merged(self, later: "Delta") -> "Delta":
        """This delta followed by a later one of the same continuation, for a reader that lags behind."""
        return Delta(
            self.text + later.text,
            self.tokens + later.tokens,
            later.finish,
            later.usage,
            self.index,
            self.logprobs + later.logprobs,
            self.prompt + later.prompt,
            later.stop,
        )
