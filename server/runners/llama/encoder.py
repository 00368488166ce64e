"""GGUF models that make embeddings, on llama.cpp. How the vectors of tokens become one stands in the file's metadata.

Vectors are scaled to length 1, as llama.cpp's own programs do: GGUF has no key for it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import EngineFailed, LoadFailed
from ..base import EncoderInfo, FloatRows, Placement, Segment
from .library import BatchArrays, NativeLog, llama, metadata
from .tokenizer import LlamaTokenizer

BATCH_TOKENS = 2048
MOST_ROWS = 64  # of one call
POOLINGS = {"1", "2", "3"}  # llama_pooling_type: mean, cls, last
RANKING = "4"


def is_encoder(model: Any, name: str) -> bool:
    """Whether a file makes embeddings. Raises LoadFailed for one that makes neither them nor text."""
    architecture = metadata(model, "general.architecture")
    pooling = metadata(model, f"{architecture}.pooling_type")
    if pooling in POOLINGS:
        return True
    if pooling == RANKING:
        raise LoadFailed(f"{name} is a cross-encoder, which scores pairs of texts; this engine does not run those.")
    if metadata(model, f"{architecture}.attention.causal") == "false":
        raise LoadFailed(f"{name} is an encoder that does not say how it pools ({architecture}.pooling_type).")
    return False


def encoder_parameters(model: Any, placement: Placement) -> Any:
    """Of a context whose calls see whole texts: what attends both ways cannot be cut."""
    parameters = llama.llama_context_default_params()
    size = max(BATCH_TOKENS, _context_length(model, placement))
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = size
    parameters.n_seq_max = MOST_ROWS
    parameters.n_threads = parameters.n_threads_batch = placement.threads
    parameters.kv_unified = True
    parameters.embeddings = True
    return parameters


class LlamaEncoder:
    """One context; every row of a call is a sequence."""

    def __init__(self, model: Any, context: Any, placement: Placement, native_log: NativeLog) -> None:
        self._model, self._context = model, context
        self._native_log = native_log  # C calls it for as long as the model lives
        self._memory = llama.llama_get_memory(context)  # None: it keeps nothing between calls
        self.tokenizer = LlamaTokenizer(model, templated=False)
        self.info = EncoderInfo(
            vocab_size=self.tokenizer.vocab_size,
            context_length=_context_length(model, placement),
            dimension=int(llama.llama_model_n_embd_out(model)),
            batch_tokens=BATCH_TOKENS,
        )
        self._size = max(BATCH_TOKENS, self.info.context_length)
        self._batch = llama.llama_batch_init(self._size, 0, 1)
        self._fields = BatchArrays(self._batch, self._size)

    def encode(self, rows: Sequence[Sequence[int]]) -> FloatRows:
        assert rows, "no rows"
        for row in rows:
            assert 0 < len(row) <= self.info.context_length, "an empty row, or past the context"
            assert 0 <= min(row) <= max(row) < self.info.vocab_size, "no such token"
        found = np.concatenate([self._call(part) for part in self._calls(rows)])
        unit: FloatRows = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return unit

    def close(self) -> None:
        llama.llama_batch_free(self._batch)
        llama.llama_free(self._context)
        llama.llama_model_free(self._model)
        self._native_log.close()

    def _calls(self, rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
        """The rows in order, as many at a time as a call takes."""
        call: list[Sequence[int]] = []
        for row in rows:
            if len(call) == MOST_ROWS or sum(map(len, call)) + len(row) > self._size:
                yield call
                call = []
            call.append(row)
        yield call

    def _call(self, rows: list[Sequence[int]]) -> FloatRows:
        if self._memory:
            llama.llama_memory_clear(self._memory, True)
        segments = [Segment(slot, list(row), 0, range(len(row))) for slot, row in enumerate(rows)]
        self._batch.n_tokens = self._fields.fill(segments)
        code = llama.llama_decode(self._context, self._batch)
        if code:
            raise EngineFailed(f"llama.cpp could not compute embeddings (llama_decode returned {code}).")
        return np.stack([self._vector(slot) for slot in range(len(rows))])

    def _vector(self, slot: int) -> FloatRows:
        pointer = llama.llama_get_embeddings_seq(self._context, slot)
        assert pointer, "llama.cpp pooled nothing for a sequence"
        return np.ctypeslib.as_array(pointer, (self.info.dimension,)).copy()


def _context_length(model: Any, placement: Placement) -> int:
    trained = int(llama.llama_model_n_ctx_train(model))
    return min(trained, placement.context or trained)
