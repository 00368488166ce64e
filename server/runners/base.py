"""The one abstraction that every engine is reduced to: tokens in, logits out, over a set of KV slots.

Everything else (batching, prefix reuse, sampling, stop strings, cancellation) exists once, in `server.engine`.
To add an engine, write `runners/<name>.py` with `load(artifact, placement, report) -> ModelRunner` and add it to the
contract suite in `tests/contract`. Models that make embeddings are an `Encoder` instead; `load` returns what it finds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

if TYPE_CHECKING:  # the server's process knows these types and has no numbers to compute with
    import numpy as np
    import numpy.typing as npt

FloatRows: TypeAlias = "npt.NDArray[np.float32]"
TokenIds: TypeAlias = "npt.NDArray[np.int64]"
ReportProgress = Callable[[float], None]  # fraction of a load, 0 to 1


class Placement(Struct, frozen=True):
    """What an engine is given to run with. None leaves the choice to the engine and the model."""

    threads: int
    slots: int = 8
    spin: bool = True  # whether idle threads burn their core for a moment to be there sooner
    context: int | None = None  # tokens a sequence may have
    cache_tokens: int | None = None  # KV cells shared by all sequences, for engines with one pool
    device: str = "cpu"  # in the words of models.yaml
    adapters: bool = False  # whether adapters may be loaded; where that takes another graph, it is opened


class RunnerInfo(Struct, frozen=True, tag=True):
    """What a loaded engine can do.

    Prompts are computed in chunks that end at multiples of `chunk_tokens`. Where a kernel's rounding depends on how
    many tokens it sees, this keeps the chunks of a sequence, and so its text, independent of its neighbours. Where a
    single token is a kernel of its own `least_chunk` is 2: of a prefix so much is reused that a chunk has two tokens.
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
    least_chunk: int = 1


class EncoderInfo(Struct, frozen=True, tag=True):
    """What a loaded encoder can do: texts of up to `context_length` tokens become `dimension` numbers each.

    `batch_tokens`: how many tokens, padding included, are best computed in one call.
    """

    vocab_size: int
    context_length: int
    dimension: int
    batch_tokens: int


@dataclass(slots=True)
class Segment:
    """Tokens of one sequence to run through the model: `tokens[i]` stands at position `start + i` of slot `slot`.

    `start` is the number of tokens the slot holds already. `reserve` is how many it may come to hold, 0 if unknown: an
    engine that sizes memory for a sequence does so once. `wanted` are the offsets in `tokens` whose logits are asked:
    none for a prompt chunk that is not the last, `range(n - 1, n)` for the next token. `adapter` is a number that
    `load_adapter` gave, None for the model as it is; a slot's KV entries belong to the adapter that computed them.
    """

    slot: int
    tokens: list[int]
    start: int
    wanted: range
    reserve: int = 0
    adapter: int | None = None


Batch = Sequence[Segment]


def split_segment(segment: Segment, grid: int) -> list[Segment]:
    """The segment cut at positions that are multiples of `grid`; the rows keep their order."""
    parts: list[Segment] = []
    at = 0
    while at < len(segment.tokens):
        start = segment.start + at
        count = min(grid - start % grid, len(segment.tokens) - at)
        wanted = range(max(segment.wanted.start - at, 0), max(min(segment.wanted.stop - at, count), 0))
        parts.append(replace(segment, tokens=segment.tokens[at : at + count], start=start, wanted=wanted))
        at += count
    return parts


def check_batch(batch: Batch, info: RunnerInfo, lengths: Sequence[int], adapters: int = 0) -> None:
    """What native engines abort on: an assert here ends as a Python error instead. `lengths` are what slots hold."""
    assert len({segment.slot for segment in batch}) == len(batch), "two segments in one slot"
    for segment in batch:
        held, count = lengths[segment.slot], len(segment.tokens)
        assert count, "an empty segment"
        assert segment.start == held, f"slot {segment.slot} holds {held} tokens, not {segment.start}"
        assert held + count <= info.context_length, "past the context"
        assert 0 <= min(segment.tokens) <= max(segment.tokens) < info.vocab_size, "no such token"
        assert info.logits == "any" or set(segment.wanted) <= {count - 1}, "only the last position has logits"
        assert segment.adapter is None or segment.adapter < adapters, "no such adapter"


class CacheFull(Exception):
    """The KV cache has no room for this batch. Nothing of it was committed."""


class SlotsLost(Exception):
    """The engine failed in the middle of a batch: these slots are empty now, and the others as they were before."""

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

    def load_adapter(self, path: Path, scale: float = 1.0) -> int:
        """Load a LoRA adapter beside the model; the number is for `Segment.adapter`. `scale` multiplies what it adds.

        Raises LoadFailed if it cannot.
        """
        ...

    def release_cache(self) -> None:
        """Give the KV memory back. Every slot is empty then; the next forward takes memory again."""
        ...

    def set_spin(self, spin: bool) -> None:
        """Whether idle threads burn their core from now on; what slots hold stays.

        Where an engine can say so only when it loads, this changes nothing. Raises LoadFailed: the model is lost then.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """A loaded model that makes vectors of text, called by one thread."""

    @property
    def info(self) -> EncoderInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def encode(self, rows: Sequence[Sequence[int]]) -> FloatRows:
        """One vector a row of tokens, [len(rows), dimension], pooled and scaled as the model's configuration says.

        Rows are not empty and no longer than the context. They are padded to the longest: like lengths cost least.
        Raises EngineFailed.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class ArrayLogits:
    """Logits that already lie in one host array [rows, vocab_size]."""

    def __init__(self, rows: Any) -> None:
        import numpy as np

        self._rows: FloatRows = np.asarray(rows, np.float32)

    def argmax(self, rows: Sequence[int]) -> TokenIds:
        best: TokenIds = self._rows[list(rows)].argmax(axis=1)
        return best

    def host(self, rows: Sequence[int]) -> FloatRows:
        return self._rows[list(rows)]


class RowLogits:
    """Rows [vocab_size] that lie apart, each in its own place."""

    def __init__(self, rows: Sequence[FloatRows]) -> None:
        self._rows = rows

    def argmax(self, rows: Sequence[int]) -> TokenIds:
        import numpy as np

        return np.fromiter((self._rows[row].argmax() for row in rows), np.int64, len(rows))

    def host(self, rows: Sequence[int]) -> FloatRows:
        import numpy as np

        return np.stack([self._rows[row] for row in rows])
