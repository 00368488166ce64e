"""llama.cpp's library, its log and its batches. The only file that imports llama_cpp."""

import ctypes
import sys
from collections import deque
from typing import Any

import llama_cpp as llama
import numpy as np

from ..base import Segment

__all__ = ["BatchArrays", "NativeLog", "llama", "metadata"]

LOG_WARNING, LOG_ERROR = 3, 4  # ggml_log_level
LONGEST_VALUE = 256  # bytes of a value of metadata that is read here


class BatchArrays:
    """NumPy views of a llama_batch: filling arrays takes microseconds, ctypes fields longer than a small decode."""

    def __init__(self, batch: Any, size: int) -> None:
        view = np.ctypeslib.as_array
        self._tokens = view(batch.token, (size,))
        self._positions = view(batch.pos, (size,))
        self._wanted = view(batch.logits, (size,))
        view(batch.n_seq_id, (size,))[:] = 1
        # seq_id is an array of pointers to one id each: keep a view of each target.
        self._slots = [view(batch.seq_id[i], (1,)) for i in range(size)]

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


class NativeLog:
    """llama.cpp's own log: warnings and errors go to stderr, if `echo`, and the last errors explain what failed."""

    def __init__(self, *, echo: bool = True) -> None:
        self._echo = echo
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
        if self._echo:
            print(line, file=sys.stderr)  # noqa: T201


def metadata(model: Any, key: str) -> str | None:
    """A value of a GGUF file as text; None where it has none."""
    buffer = ctypes.create_string_buffer(LONGEST_VALUE)
    length = llama.llama_model_meta_val_str(model, key.encode(), buffer, LONGEST_VALUE)
    return None if length < 0 else buffer.value.decode("utf-8", "replace")
