"""One request in the engine: its tokens, its slot, its sampler and its text. One object owns all of its state."""

import time
from dataclasses import dataclass, field

from ..types import FinishReason, Request, TokenLogprob, Usage, sequence_id
from .guidance import Guide
from .logprobs import Scores
from .sampler import Sampler
from .text import TextStream


@dataclass(slots=True)
class Clock:
    """When a sequence came, got a slot, and had its first and its latest token; seconds of the monotonic clock."""

    arrived: float = field(default_factory=time.perf_counter)
    seated: float | None = None
    first: float | None = None
    latest: float | None = None

    def note_token(self) -> None:
        self.latest = time.perf_counter()
        self.first = self.first or self.latest

    def spans(self) -> tuple[float, float, float]:
        """Seconds in the queue, with the prompt, and with the tokens after the first."""
        seated = self.seated or self.arrived
        first = self.first or seated
        return seated - self.arrived, first - seated, (self.latest or first) - first


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens` are the prompt and what was generated; the first `computed` of them have KV entries in `slot`."""

    request: Request
    prompt_tokens: int
    tokens: list[int]
    sampler: Sampler
    text: TextStream
    limit: int  # tokens this sequence may have, prompt included
    clock: Clock = field(default_factory=Clock)
    index: int = 0  # which continuation of its request
    leader: "Sequence | None" = None  # the first continuation, whose prompt is computed for all
    guide: Guide | None = None
    shown: dict[int, bytes] = field(default_factory=dict)  # special tokens that appear in the text
    slot: int | None = None
    computed: int = 0
    cached: int = 0  # tokens of the prompt that were not computed for this request
    started: bool = False
    last_chunk: int = 0  # the step in which its prompt last got a chunk
    retries: int = 0
    over: bool = False  # finished, failed or cancelled
    scores: Scores = field(default_factory=Scores)
    prompt_scores: list[TokenLogprob] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The request's id, with the number of the continuation where it is not the first."""
        return sequence_id(self.request.id, self.index)

    @property
    def ready(self) -> bool:
        """Whether it may get a slot: a follower waits until the prompt that it shares was computed."""
        return self.leader is None or self.leader.generated > 0 or self.leader.over

    @property
    def pending(self) -> int:
        """Tokens without KV entries: 1 while decoding, more while a prompt is prefilled."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    @property
    def longest(self) -> int:
        """Tokens the sequence may come to have, prompt included."""
        asked = self.request.params.max_tokens
        return self.limit if asked is None else min(self.limit, self.prompt_tokens + asked)

    @property
    def scores_prompt(self) -> bool:
        """Whether log-probabilities of its prompt are still to be computed."""
        return self.request.prompt_logprobs is not None and self.index == 0 and self.generated == 0

    @property
    def may_reuse(self) -> bool:
        """Whether KV entries that a slot keeps may stand for the beginning of this prompt."""
        return (self.request.cache_prompt or self.leader is not None) and not self.scores_prompt

    def usage(self) -> Usage:
        """What the sequence took, up to now."""
        return Usage(self.prompt_tokens, self.generated, self.cached, *self.clock.spans())

    def append(self, token: int, eos_ids: frozenset[int], piece: bytes) -> tuple[str, FinishReason | None]:
        """Take the next token: the text that can be shown now, and why the sequence ends, if it does."""
        self.tokens.append(token)
        params = self.request.params
        if token in eos_ids and not params.ignore_eos and self.generated > params.min_tokens:
            return self.text.flush(), "stop"
        shown = self.text.push(self.shown.get(token, piece))
        if self.text.stopped is not None:
            return shown, "stop"
        if self.guide is not None and self.guide.finished:
            return shown + self.text.flush(), "stop"
        if self.generated == params.max_tokens or len(self.tokens) >= self.limit:
            return shown + self.text.flush(), "length"
        return shown, None
