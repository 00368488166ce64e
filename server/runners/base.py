"""The one abstraction that every engine is reduced to: tokens in, logits out, over a set of KV slots.

Everything else (batching, prefix reuse, sampling, stop strings, cancellation) exists once, in `server.engine`.
To add an engine, write `runners/<name>.py` with `load(artifact, placement, report) -> ModelRunner` and add it to the
contract suite in `tests/contract`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

FloatRows = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int64]
ReportProgress = Callable[[float], None]  # fraction of a load, 0 to 1


class Placement(Struct, frozen=True):
    """What an engine is given to run with. None leaves the choice to the engine and the model."""

    threads: int
    slots: int = 8
    context: int | None = None  # tokens a sequence may have
    cache_tokens: int | None = None  # KV cells shared by all sequences, for engines with one pool


class RunnerInfo(Struct, frozen=True):
    """What a loaded engine can do.

    Prompts are computed in chunks that end at multiples of `chunk_tokens`. Where a kernel's rounding depends on how
    many tokens it sees, this keeps the chunks of a sequence, and so its text, independent of its neighbours.
    `cache_tokens` is the size of the pool that all slots share, None where each slot has `context_length` of its own.
    `logits` says for which positions logits can be had: "any", or "last" of a segment only.
    """

    vocab_size: int
    context_length: int
    slots: int
    max_batch_tokens: int
    chunk_tokens: int
    cache_tokens: int | None
    cache_bytes_per_token: int
    logits: Literal["any", "last"] = "any"


@dataclass(slots=True)
class Segment:
    """Tokens of one sequence to run through the model: `tokens[i]` stands at position `start + i` of slot `slot`.

    `start` is the number of tokens the slot holds already. `wanted` are the offsets in `tokens` whose logits are asked:
    none for a prompt chunk that is not the last, `range(n - 1, n)` for the next token.
    """

    slot: int
    tokens: list[int]
    start: int
    wanted: range


Batch = Sequence[Segment]


def split_segment(segment: Segment, grid: int) -> list[Segment]:
    """The segment cut at positions that are multiples of `grid`; the rows keep their order."""
    parts: list[Segment] = []
    at = 0
    while at < len(segment.tokens):
        start = segment.start + at
        count = min(grid - start % grid, len(segment.tokens) - at)
        wanted = range(max(segment.wanted.start - at, 0), max(min(segment.wanted.stop - at, count), 0))
        parts.append(Segment(segment.slot, segment.tokens[at : at + count], start, wanted))
        at += count
    return parts


class CacheFull(Exception):
    """The KV cache has no room for this batch. Nothing of it was committed."""


class SlotsLost(Exception):
    """The engine failed in the middle of a batch: the contents of these slots are unknown, and now empty."""

    def __init__(self, slots: list[int], reason: str) -> None:
        super().__init__(reason)
        self.slots = slots


class Logits(Protocol):
    """Logits of the wanted positions of a batch: rows in the order of its segments. Valid until the next forward."""

    def argmax(self, rows: Sequence[int]) -> TokenIds:
        """The best token of each row, [len(rows)]. On a device, only the ids travel."""
        ...

    def host(self, rows: Sequence[int]) -> FloatRows:
        """The rows as float32, [len(rows), vocab_size]. May be a view: the caller copies before it writes."""
        ...


class Tokenizer(Protocol):
    """Text to token ids and back. Every method is safe to call from any thread, also during a forward."""

    bos_token: str
    eos_token: str
    eos_ids: frozenset[int]  # every token that ends a turn
    chat_template: str | None  # Jinja source, as the model ships it

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`, with the model's own leading token unless the text starts with it.

        `special`: text like `<|im_end|>` becomes the special token it names.
        """
        ...

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to the text, as bytes (a token may hold part of a character); b"" for control tokens."""
        ...


class ModelRunner(Protocol):
    """A loaded model, called by one thread. Any mix of segments is legal: the runner splits what cannot be mixed."""

    @property
    def info(self) -> RunnerInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def forward(self, batch: Batch) -> Logits:
        """Run a batch and keep its KV entries. At most one segment a slot; raises CacheFull or SlotsLost."""
        ...

    def copy_prefix(self, source: int, target: int, length: int) -> bool:
        """Make `target` hold the first `length` tokens of `source`, and nothing else. False: this engine cannot."""
        ...

    def truncate(self, slot: int, length: int) -> bool:
        """Forget everything past the first `length` tokens. False: it cannot, and the slot is now empty."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class ArrayLogits:
    """Logits that already lie in one host array [rows, vocab_size]."""

    def __init__(self, rows: Any) -> None:
        self._rows: FloatRows = np.asarray(rows, np.float32)

    def argmax(self, rows: Sequence[int]) -> TokenIds:
        best: TokenIds = self._rows[list(rows)].argmax(axis=1)
        return best

    def host(self, rows: Sequence[int]) -> FloatRows:
        return self._rows[list(rows)]
