"""GGUF models on llama.cpp, through llama-cpp-python's low-level batch calls. The only file that imports llama_cpp.

llama.cpp aborts the process on misuse, so this file checks before it calls: batches are no larger than `n_batch`,
positions continue, tokens are in the vocabulary, pointers are tested for truth (a NULL ctypes pointer is not None).

Every sequence has a stream of KV cells of its own (`kv_unified` off), in order and without gaps. In one shared pool
cells scatter as sequences come and go, sums are taken in another order, and greedy text then changed for 12 of 40
prompts in company; with streams for none (docs/performance.md). The price: a prefix is shared by copying a whole
stream, and memory is `slots` times the context. Flash attention is on.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np

from ..errors import LoadFailed
from .base import (
    Batch,
    CacheFull,
    FloatRows,
    Placement,
    ReportProgress,
    RowLogits,
    RunnerInfo,
    Segment,
    SlotsLost,
    split_segment,
)

BATCH_TOKENS = 512
CHUNK_TOKENS = 64  # 8 % slower than 512 for a prompt alone, and a decode waits 150 ms for it, not 1,100
DEFAULT_CONTEXT = 4096
LOG_WARNING, LOG_ERROR = 3, 4  # ggml_log_level
FLASH_ATTENTION_ON = 1  # llama_flash_attn_type


_NO_ROW: FloatRows = np.empty(0, np.float32)


class LlamaTokenizer:
    """The vocabulary of a GGUF file. llama.cpp only reads it, so every method may run beside a decode."""

    def __init__(self, model: Any) -> None:
        self._vocab = llama.llama_model_get_vocab(model)
        self.vocab_size = int(llama.llama_vocab_n_tokens(self._vocab))
        self.eos_ids = frozenset(t for t in range(self.vocab_size) if llama.llama_vocab_is_eog(self._vocab, t))
        self.bos_token = self._name(llama.llama_vocab_bos(self._vocab))
        self.eos_token = self._name(llama.llama_vocab_eos(self._vocab))
        template = llama.llama_model_chat_template(model, None)
        self.chat_template = template.decode("utf-8", "replace") if template else None
        self._adds_bos = bool(llama.llama_vocab_get_add_bos(self._vocab))
        self._bytes: dict[int, bytes] = {}

    def encode(self, text: str, *, special: bool) -> list[int]:
        # A template that writes the leading token itself must not get a second one.
        has_bos = bool(self._adds_bos and special and self.bos_token and text.startswith(self.bos_token))
        raw = text.encode("utf-8", "replace")
        capacity = len(raw) + 16
        while True:
            tokens = (llama.llama_token * capacity)()
            count = llama.llama_tokenize(self._vocab, raw, len(raw), tokens, capacity, not has_bos, special)
            if count >= 0:
                return list(tokens[:count])
            capacity = -count

    def token_bytes(self, token: int) -> bytes:
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._piece(token)
        return known

    def _piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def _name(self, token: int) -> str:
        if token < 0:
            return ""
        return bytes(llama.llama_vocab_get_text(self._vocab, token)).decode("utf-8", "replace")


class LlamaRunner:
    """One context over one model; sequence ids are the slots."""

    def __init__(self, model: Any, context: Any, placement: Placement, native_log: "_NativeLog") -> None:
        self._model, self._context = model, context
        self._native_log = native_log  # C calls it for as long as the model lives
        self._memory = llama.llama_get_memory(context)
        self.tokenizer = LlamaTokenizer(model)
        cells = int(llama.llama_n_ctx_seq(context))
        self.info = RunnerInfo(
            vocab_size=self.tokenizer.vocab_size,
            context_length=min(cells, _context_length(model, placement)),
            slots=placement.slots,
            max_batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            cache_tokens=None,
            cache_bytes_per_token=_cache_bytes_per_token(model),
        )
        # A recurrent state cannot be cut at an earlier token, nor shared in part.
        self._recurrent = bool(llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model))
        self._lengths = [0] * placement.slots
        self._views: dict[int, FloatRows] = {}
        self._batch = llama.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._fields = _BatchArrays(self._batch)

    def forward(self, batch: Batch) -> RowLogits:
        self._check(batch)
        calls = _calls(batch)
        rows: list[FloatRows] = [_NO_ROW] * sum(len(segment.wanted) for segment in batch)
        for call in calls:
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
        llama.llama_memory_seq_rm(self._memory, target, -1, -1)
        # Between streams llama.cpp copies whole sequences only, and aborts when asked for a part.
        llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        llama.llama_memory_seq_rm(self._memory, target, length, -1)
        self._lengths[target] = length
        return True

    def truncate(self, slot: int, length: int) -> bool:
        if length == self._lengths[slot]:
            return True
        if length and not self._recurrent and llama.llama_memory_seq_rm(self._memory, slot, length, -1):
            self._lengths[slot] = length
            return True
        llama.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self._lengths[slot] = 0
        return length == 0

    def load_adapter(self, path: Path) -> int:
        raise LoadFailed(f"The llama engine cannot load adapters yet, so it cannot load {path.name}.")

    def close(self) -> None:
        llama.llama_batch_free(self._batch)
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

    def _rows(self, call: "list[_Piece]") -> Iterator[tuple[int, FloatRows]]:
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
            assert segment.start == held, f"slot {segment.slot} holds {held} tokens, not {segment.start}"
            assert held + len(segment.tokens) <= self.info.context_length, "past the context"
            assert 0 <= min(segment.tokens) <= max(segment.tokens) < self.info.vocab_size, "no such token"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a segment, and the place of its first wanted row in the batch."""

    segment: Segment
    row: int


def _calls(batch: Batch) -> list[list[_Piece]]:
    """One call for each chunk of a prompt, then one for all that decode, whose rows are then read where they lie.

    Streams decode together when they have one token each and come in order of their ids; a prompt runs by itself.
    """
    prompts: list[list[_Piece]] = []
    decodes: list[_Piece] = []
    row = 0
    for segment in batch:
        for part in split_segment(segment, CHUNK_TOKENS):
            piece = _Piece(part, row)
            row += len(part.wanted)
            if len(segment.tokens) > 1:
                prompts.append([piece])
            else:
                decodes.append(piece)
    decodes.sort(key=lambda piece: piece.segment.slot)
    return [*prompts, decodes] if decodes else prompts


class _BatchArrays:
    """NumPy views of a llama_batch: filling arrays takes microseconds, ctypes fields longer than a small decode."""

    def __init__(self, batch: Any) -> None:
        view = np.ctypeslib.as_array
        self._tokens = view(batch.token, (BATCH_TOKENS,))
        self._positions = view(batch.pos, (BATCH_TOKENS,))
        self._wanted = view(batch.logits, (BATCH_TOKENS,))
        view(batch.n_seq_id, (BATCH_TOKENS,))[:] = 1
        # seq_id is an array of pointers to one id each: keep a view of each target.
        self._slots = [view(batch.seq_id[i], (1,)) for i in range(BATCH_TOKENS)]

    def fill(self, call: list[Segment]) -> int:
        at = 0
        for segment in call:
            end = at + len(segment.tokens)
            self._tokens[at:end] = segment.tokens
            self._positions[at:end] = np.arange(segment.start, segment.start + len(segment.tokens))
            self._wanted[at:end] = 0
            self._wanted[[at + offset for offset in segment.wanted]] = 1
            for slot in self._slots[at:end]:
                slot[0] = segment.slot
            at = end
        return at


class _NativeLog:
    """llama.cpp's own log: warnings and errors go to stderr, and the last errors explain a failed load."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=3)
        self._callback = llama.llama_log_callback(self._receive)
        llama.llama_log_set(self._callback, None)

    def close(self) -> None:
        """Give the log back: the process has one, and C must not call what Python has collected."""
        llama.llama_log_set(llama.llama_log_callback(), None)

    def _receive(self, level: int, text: bytes, _: Any) -> None:
        if level < LOG_WARNING or level > LOG_ERROR:
            return
        line = text.decode("utf-8", "replace").strip()
        if level == LOG_ERROR and line:
            self.errors.append(line)
        print(line, file=sys.stderr)  # noqa: T201


def load(artifact: Path | None, placement: Placement, report: ReportProgress) -> LlamaRunner:
    """Load a GGUF file; LoadFailed has llama.cpp's own reason."""
    if artifact is None:
        raise LoadFailed("The llama engine needs a GGUF file.")
    native_log = _NativeLog()
    llama.llama_backend_init()
    parameters = llama.llama_model_default_params()

    def progress(fraction: float, _: Any) -> bool:
        report(fraction)
        return True  # False would end the load

    parameters.progress_callback = callback = llama.llama_progress_callback(progress)
    model = llama.llama_model_load_from_file(str(artifact).encode(), parameters)
    del callback  # C had it until here
    if not model:
        raise LoadFailed(f"llama.cpp cannot load {artifact.name}: {_reason(native_log)}")
    context = llama.llama_init_from_model(model, _context_parameters(model, placement))
    if not context:
        llama.llama_model_free(model)
        raise LoadFailed(f"llama.cpp cannot make a context for {artifact.name}: {_reason(native_log)}")
    return LlamaRunner(model, context, placement, native_log)


def _reason(native_log: _NativeLog) -> str:
    return "; ".join(native_log.errors) or "it gave no reason"


def _context_length(model: Any, placement: Placement) -> int:
    trained = int(llama.llama_model_n_ctx_train(model))
    return min(trained, placement.context or DEFAULT_CONTEXT)


def _context_parameters(model: Any, placement: Placement) -> Any:
    parameters = llama.llama_context_default_params()
    length = _context_length(model, placement)
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


def _cache_bytes_per_token(model: Any) -> int:
    """Key and value of one token in 16-bit floats, over all layers."""
    head = llama.llama_model_n_embd(model) // max(llama.llama_model_n_head(model), 1)
    return int(llama.llama_model_n_layer(model) * llama.llama_model_n_head_kv(model) * head * 2 * 2)
