"""One request in the engine: its tokens, its slot, its sampler and its text. One object owns all of its state."""

from dataclasses import dataclass, field

from ..types import FinishReason, Request, Usage
from .sampler import Sampler
from .text import TextStream


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens` are the prompt and what was generated; the first `computed` of them have KV entries in `slot`."""

    request: Request
    prompt_tokens: int
    tokens: list[int]
    sampler: Sampler
    text: TextStream
    limit: int  # tokens this sequence may have, prompt included
    slot: int | None = None
    computed: int = 0
    cached: int = 0  # tokens of the prompt that were not computed for this request
    started: bool = False
    last_chunk: int = 0  # the step in which its prompt last got a chunk
    retries: int = field(default=0)

    @property
    def id(self) -> str:
        return self.request.id

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
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.generated, self.cached)

    def append(self, token: int, eos_ids: frozenset[int], piece: bytes) -> tuple[str, FinishReason | None]:
        """Take the next token: the text that can be shown now, and why the sequence ends, if it does."""
        self.tokens.append(token)
        params = self.request.params
        if token in eos_ids and not params.ignore_eos and self.generated > params.min_tokens:
            return self.text.flush(), "stop"
        shown = self.text.push(piece)
        if self.text.stopped:
            return shown, "stop"
        if self.generated == params.max_tokens or len(self.tokens) >= self.limit:
            return shown + self.text.flush(), "length"
        return shown, None
