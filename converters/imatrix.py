"""How much each input of a matrix matters: the mean square of what goes into it over a text.

A quantiser that rounds where little goes in loses less (https://github.com/ggml-org/llama.cpp/pull/4861). Computed by
the float32 forward of `reference`, so it needs no engine and is the same everywhere; written and read in llama.cpp's
format for importance matrices, a GGUF file with the sum of squares of each input and how many rows it is of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from server.errors import CupolaError, InvalidValue
from server.models import gguf as reader
from server.models.gguf import Gguf

from .blocks import Floats
from .gguf_closing import close
from .reference import Forward

CHUNK = 256  # tokens that see each other
SUMS, COUNTS = ".in_sum2", ".counts"
Report = Callable[[float, str], None]


@dataclass(slots=True)
class Importance:
    """By matrix: the sum of squares of each input, float64 [inputs], over `rows` rows."""

    sums: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    tokens: int = 0

    def add(self, name: str, x: Floats) -> None:
        """Count rows [rows, inputs] that went into a matrix."""
        squares = np.square(x, dtype=np.float64).sum(axis=0)
        self.sums[name] = self.sums[name] + squares if name in self.sums else squares
        self.rows[name] = self.rows.get(name, 0) + len(x)

    def means(self) -> dict[str, Floats]:
        """What a quantiser weighs errors with, float32 [inputs] by name of the matrix."""
        return {name: (sums / self.rows[name]).astype(np.float32) for name, sums in self.sums.items()}


class _Listening(Forward):
    """A forward that notes what goes into each matrix."""

    def __init__(self, gguf: Gguf, importance: Importance) -> None:
        super().__init__(gguf)
        self._importance = importance

    def _linear(self, x: Floats, name: str, width: int) -> Floats:
        self._importance.add(f"{name}.weight", x)
        return super()._linear(x, name, width)


def compute(gguf: Gguf, tokens: list[int], report: Report = lambda *_: None, lead: Sequence[int] = ()) -> Importance:
    """Over a text of tokens, CHUNK of them at a time, each after `lead`: what the model wants at a text's start.

    Raises InvalidValue for a text that is too short.
    """
    if len(tokens) < CHUNK:
        raise InvalidValue(f"The text has {len(tokens)} tokens; an importance matrix needs at least {CHUNK}.")
    importance = Importance()
    forward = _Listening(gguf, importance)
    width = CHUNK - len(lead)
    for start in range(0, len(tokens), width):
        report(start / len(tokens), f"token {start} of {len(tokens)}")
        part = [*lead, *tokens[start : start + width]]
        forward.head(forward.hidden(part))
        importance.tokens += len(part)
    return importance


def write(importance: Importance, path: Path, dataset: str) -> None:
    """Write llama.cpp's format. Raises CupolaError where its library is not installed."""
    try:
        import gguf
    except ModuleNotFoundError:
        raise CupolaError(
            "Importance matrices need the package gguf. Install it with: pip install 'cupola[convert]'"
        ) from None
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [dataset])
    writer.add_uint32("imatrix.chunk_count", -(-importance.tokens // CHUNK))
    writer.add_uint32("imatrix.chunk_size", CHUNK)
    for name, sums in importance.sums.items():
        writer.add_tensor(f"{name}{SUMS}", sums.astype(np.float32)[None])
        writer.add_tensor(f"{name}{COUNTS}", np.array([[importance.rows[name]]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    close(writer, path)


def read(path: Path) -> Importance:
    """An importance matrix of ours or of llama.cpp's own program. Raises InvalidValue for what is none."""
    found = reader.read(path)
    if found.metadata.get("general.type") != "imatrix":
        raise InvalidValue(f"{path} is no importance matrix.")
    importance = Importance()
    for name, info in found.tensors.items():
        if not name.endswith(SUMS):
            continue
        matrix = name.removesuffix(SUMS)
        counts = found.tensors.get(f"{matrix}{COUNTS}")
        if counts is None or info.kind != "F32" or counts.kind != "F32":
            raise InvalidValue(f"{path} is damaged: {name} has no counts.")
        rows = int(found.raw(counts).view("<f4").max())
        importance.rows[matrix] = max(rows, 1)
        importance.sums[matrix] = found.raw(info).view("<f4").astype(np.float64)
    if not importance.sums:
        raise InvalidValue(f"{path} is an importance matrix without any matrix.")
    return importance
