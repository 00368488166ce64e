"""Writing a safetensors file, a piece of a tensor at a time: memory is one piece. The format: safetensors_file.py."""

import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from server.errors import ConversionFailed

from .safetensors_file import Floats

FloatKind = Literal["F32", "F16", "BF16"]
WIDTHS: dict[FloatKind, int] = {"F32": 4, "F16": 2, "BF16": 2}
ALIGNMENT = 8


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], kind: FloatKind, pieces: Iterable[Floats]) -> None:
    """The tensors of `shapes`, in its order; `pieces` are their numbers in that order, in pieces of any size.

    Raises ConversionFailed where a number does not fit in the type.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + prod(shape) * WIDTHS[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for piece in pieces:
            file.write(encode(piece, kind))
        written = file.tell() - 8 - len(text)
    assert written == end, f"{written} bytes of tensors, not {end}"


def encode(values: Floats, kind: FloatKind) -> bytes:
    """The bytes of float32 values in another type, rounded to the nearest, ties to even."""
    if kind == "F32":
        return values.astype("<f4", copy=False).tobytes()
    if kind == "BF16":
        bits = np.ascontiguousarray(values, "<f4").view("<u4")
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return (rounded >> np.uint32(16)).astype("<u2").tobytes()
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if np.isinf(halves).any():
        raise ConversionFailed("A weight is too large for float16; use bf16 or fp32.")
    return halves.tobytes()
