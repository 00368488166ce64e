"""GGUF models on llama.cpp, through llama-cpp-python's low-level batch calls.

llama.cpp aborts the process on misuse, so this file checks before it calls: batches are no larger than `n_batch`,
positions continue, tokens are in the vocabulary, pointers are tested for truth (a NULL ctypes pointer is not None).

Every sequence has a stream of KV cells of its own (`kv_unified` off), in order and without gaps. In one shared pool
cells scatter as sequences come and go, sums are taken in another order, and greedy text then changed for 12 of 40
prompts in company; with streams for none (docs/performance.md). The price: a prefix is shared by copying a whole
stream, and memory is `slots` times the context. Flash attention is on.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..base import Batch, CacheFull, FloatRows, Placement, RowLogits, RunnerInfo, Segment, SlotsLost, split_segment
from .adapters import Adapters
from .library import BatchArrays, NativeLog, llama
from .tokenizer import LlamaTokenizer

BATCH_TOKENS = 512
CHUNK_TOKENS = 64  # 8 % slower than 512 for a prompt alone, and a decode waits 150 ms for it, not 1,100
DEFAULT_CONTEXT = 4096
FLASH_ATTENTION_ON = 1  # llama_flash_attn_type


_NO_ROW: FloatRows = np.empty(0, np.float32)


class LlamaRunner:
    """One context over one model; sequence ids are the slots."""

    def __init__(self, model: Any, context: Any, placement: Placement, native_log: NativeLog) -> None:
        self._model, self._placement = model, placement
        self._native_log = native_log  # C calls it for as long as the model lives
        self._use(context)
        self.tokenizer = LlamaTokenizer(model)
        cells = int(llama.llama_n_ctx_seq(context))
        self.info = RunnerInfo(
            vocab_size=self.tokenizer.vocab_size,
            context_length=min(cells, context_length(model, placement)),
            slots=placement.slots,
            max_batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            cache_tokens=None,
            cache_bytes_per_token=cache_bytes_per_token(model),
        )
        # A recurrent state cannot be cut at an earlier token, nor shared in part.
        self._recurrent = bool(llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model))
        self._adapters = Adapters(model, native_log.errors)
        self._lengths = [0] * placement.slots
        self._batch = llama.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._fields = BatchArrays(self._batch, BATCH_TOKENS)

    def _use(self, context: Any) -> None:
        self._context = context
        self._memory = llama.llama_get_memory(context)
        self._views: dict[int, FloatRows] = {}

    def forward(self, batch: Batch) -> RowLogits:
        self._check(batch)
        self._wake()
        calls = calls_of(batch, self._adapters.active)
        rows: list[FloatRows] = [_NO_ROW] * sum(len(segment.wanted) for segment in batch)
        for call in calls:
            self._adapters.activate(self._context, call[0].segment.adapter)
            self._decode([piece.segment for piece in call], batch)
            last = call is calls[-1]
            for row, view in self._rows(call):
                rows[row] = view if last else view.copy()
        for segment in batch:
            self._lengths[segment.slot] += len(segment.tokens)
        return RowLogits(rows)

    def copy_prefix(self, source: int, target: int, length: int) -> bool:
        if self._recurrent:
            return False
        self._wake()
        llama.llama_memory_seq_rm(self._memory, target, -1, -1)
        # Between streams llama.cpp copies whole sequences only, and aborts when asked for a part.
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        llama.llama_memory_seq_rm(self._memory, target, length, -1)
        self._lengths[target] = length
        return True

    def truncate(self, slot: int, length: int) -> bool:
        if length == self._lengths[slot]:
            return True  # also while there is no context
        if length and not self._recurrent and llama.llama_memory_seq_rm(self._memory, slot, length, -1):
            self._lengths[slot] = length
            return True
        llama.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self._lengths[slot] = 0
        return length == 0

    def load_adapter(self, path: Path, scale: float = 1.0) -> int:
        return self._adapters.load(path, scale)

    def release_cache(self) -> None:
        """The KV memory is part of the context, which is made anew when it is needed."""
        if self._context is not None:
            llama.llama_free(self._context)
            self._context = self._memory = None
            self._lengths = [0] * len(self._lengths)
            self._views.clear()
            self._adapters.active = None

    def set_spin(self, spin: bool) -> None:
        """OpenMP reads how its threads wait when the process starts, and never again: see `Worker.start`."""

    def _wake(self) -> None:
        """Have a context. Raises CacheFull where there is no memory for one."""
        if self._context is None:
            context = llama.llama_init_from_model(self._model, context_parameters(self._model, self._placement))
            if not context:
                raise CacheFull
            self._use(context)

    def close(self) -> None:
        llama.llama_batch_free(self._batch)
        if self._context is not None:
            llama.llama_free(self._context)
        llama.llama_model_free(self._model)
        self._native_log.close()

    def _decode(self, call: list[Segment], batch: Batch) -> None:
        """One llama_decode. Return codes: 1 no room (state restored), 2 and below -1 leave the cells unknown."""
        count = self._fields.fill(call)
        self._batch.n_tokens = count
        code = llama.llama_decode(self._context, self._batch)
        if code == 0:
            return
        for segment in batch:  # an earlier call of this batch may have been committed
            llama.llama_memory_seq_rm(self._memory, segment.slot, segment.start, -1)
        if code == 1:
            raise CacheFull
        slots = [segment.slot for segment in batch]
        for slot in slots:
            llama.llama_memory_seq_rm(self._memory, slot, -1, -1)
            self._lengths[slot] = 0
        raise SlotsLost(slots, f"llama_decode returned {code}")

    def _rows(self, call: "list[Piece]") -> Iterator[tuple[int, FloatRows]]:
        """The rows that the last call made, with their place in the batch."""
        first = 0
        for piece in call:
            for number, offset in enumerate(piece.segment.wanted):
                yield piece.row + number, self._row(first + offset)
            first += len(piece.segment.tokens)

    def _row(self, position: int) -> FloatRows:
        """A view of the logits of one position of the last call. llama.cpp reuses its buffer, so views are kept."""
        pointer = llama.llama_get_logits_ith(self._context, position)
        assert pointer, "llama.cpp kept no logits for a position that asked for them"
        address = ctypes.addressof(pointer.contents)
        view = self._views.get(address)
        if view is None:
            view = self._views[address] = np.ctypeslib.as_array(pointer, (self.info.vocab_size,))
        return view

    def _check(self, batch: Batch) -> None:
        """What llama.cpp would abort on; an assert here ends as a Python error instead."""
        assert len({segment.slot for segment in batch}) == len(batch), "two segments in one slot"
        for segment in batch:
            held = self._lengths[segment.slot]
            assert segment.tokens, "an empty segment"
            assert segment.adapter is None or segment.adapter < len(self._adapters), "no such adapter"
            assert segment.start == held, f"slot {segment.slot} holds {held} tokens, not {segment.start}"
            assert held + len(segment.tokens) <= self.info.context_length, "past the context"
            assert 0 <= min(segment.tokens) <= max(segment.tokens) < self.info.vocab_size, "no such token"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment, and the place of its first wanted row in the batch."""

    segment: Segment
    row: int


def calls_of(batch: Batch, active: int | None) -> list[list[Piece]]:
    """One call for each chunk of a prompt, then one for all that decode with the same adapter.

    Streams decode together when they have one token each and come in order of their ids; a prompt runs by itself.
    Adapters are changed as rarely as can be: prompts begin with the one that is active, decodes with the last one of
    the prompts. The rows of the last call are read where they lie.
    """
    prompts: list[list[Piece]] = []
    decodes: dict[int | None, list[Piece]] = {}
    row = 0
    for segment in batch:
        for part in split_segment(segment, CHUNK_TOKENS):
            piece = Piece(part, row)
            row += len(part.wanted)
            if len(segment.tokens) > 1:
                prompts.append([piece])
            else:
                decodes.setdefault(segment.adapter, []).append(piece)
    order = list(dict.fromkeys([active, *(call[0].segment.adapter for call in prompts)]))
    prompts.sort(key=lambda call: order.index(call[0].segment.adapter))
    last = prompts[-1][0].segment.adapter if prompts else active
    for together in decodes.values():
        together.sort(key=lambda piece: piece.segment.slot)
    return [*prompts, *sorted(decodes.values(), key=lambda together: together[0].segment.adapter != last)]


def context_length(model: Any, placement: Placement) -> int:
    trained = int(llama.llama_model_n_ctx_train(model))
    return min(trained, placement.context or DEFAULT_CONTEXT)


def context_parameters(model: Any, placement: Placement) -> Any:
    parameters = llama.llama_context_default_params()
    length = context_length(model, placement)
    parameters.n_ctx = length * placement.slots
    parameters.n_batch = BATCH_TOKENS
    parameters.n_ubatch = BATCH_TOKENS
    parameters.n_seq_max = placement.slots
    parameters.n_threads = placement.threads
    parameters.n_threads_batch = placement.threads
    parameters.kv_unified = False
    parameters.swa_full = True  # keep what slid out of an attention window: a prefix can then be cut and reused
    parameters.flash_attn_type = FLASH_ATTENTION_ON
    return parameters


def cache_bytes_per_token(model: Any) -> int:
    """Key and value of one token in 16-bit floats, over all layers."""
    head = llama.llama_model_n_embd(model) // max(llama.llama_model_n_head(model), 1)
    return int(llama.llama_model_n_layer(model) * llama.llama_model_n_head_kv(model) * head * 2 * 2)
