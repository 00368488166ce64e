"""Safetensors files, read without their library. Bounded: the file may be a stranger's.

Layout: eight bytes with the length of a header, the header as JSON, then the tensors' bytes.
https://github.com/huggingface/safetensors#format
"""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from server.errors import InvalidValue

Floats = npt.NDArray[np.float32]

_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER = 16 << 20
_MOST_DIMENSIONS = 8
_MOST_NUMBERS = 1 << 56  # of a tensor, without the dimensions that are 0: NumPy cannot make more, not even of none
# What a weight may be. BF16 is the upper half of a float32 and has no type in NumPy.
_KINDS: dict[str, type[np.generic]] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64}

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]


class _Entry(msgspec.Struct, frozen=True):
    """A tensor in the header; offsets are bytes behind the header."""

    dtype: str
    shape: Annotated[list[Count], msgspec.Meta(max_length=_MOST_DIMENSIONS)]
    data_offsets: tuple[Count, Count]


@dataclass(frozen=True, slots=True)
class Safetensors:
    """A file whose header is read. Tensors are mapped when they are asked for: no more than one fills memory."""

    path: Path
    entries: dict[str, _Entry]
    start: int  # of the tensors' bytes in the file
    size: int  # of them all

    def floats(self, name: str, *shape: int) -> Floats:
        """A tensor of this shape as float32. Raises InvalidValue where there is none."""
        entry = self.entries.get(name)
        if entry is None:
            raise InvalidValue(f"{self.path.name} has no tensor {name}.")
        if tuple(entry.shape) != shape:
            raise InvalidValue(f"{self.path.name}: {name} has the shape {entry.shape}, not {list(shape)}.")
        kind = _KINDS.get(entry.dtype)
        if kind is None:
            raise InvalidValue(f"{self.path.name}: {name} is {entry.dtype}; weights are {', '.join(_KINDS)}.")
        start, end = entry.data_offsets
        if start == end:
            return np.empty(shape, np.float32)
        stored = np.dtype(kind).newbyteorder("<")
        values = np.asarray(np.memmap(self.path, stored, "r", self.start + start, shape))
        if entry.dtype == "BF16":
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return values.astype(np.float32)


def read(path: Path) -> Safetensors:
    """Open a file. Raises InvalidValue for one that is no safetensors file."""
    try:
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            if length > min(_LARGEST_HEADER, path.stat().st_size - _LENGTH.size):
                raise InvalidValue(f"{path.name} is no safetensors file: its header is longer than it may be.")
            header = json.loads(file.read(length))
        if isinstance(header, dict):
            header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, _Entry])
        start = _LENGTH.size + length
        size = path.stat().st_size - start
    except (OSError, ValueError, RecursionError, struct.error, msgspec.ValidationError) as error:
        raise InvalidValue(f"{path.name} is no safetensors file: {str(error)[:200]}.") from None
    found = Safetensors(path, entries, start, size)
    _check_places(found)
    return found


def _check_places(file: Safetensors) -> None:
    """Raises InvalidValue unless tensors lie one after the other from the start of the file to its end, as large as
    they say; where the type is no weight's, its size is not looked at.
    """
    end, before = 0, ""
    for name, entry in sorted(file.entries.items(), key=lambda item: item[1].data_offsets):
        first, last = entry.data_offsets
        kind, width = _KINDS.get(entry.dtype), last - first
        strange = kind is not None and width != prod(entry.shape) * np.dtype(kind).itemsize
        if not first <= last <= file.size or strange or prod(size or 1 for size in entry.shape) > _MOST_NUMBERS:
            raise InvalidValue(f"{file.path.name}: {name[:100]} does not lie in the file as its header says.")
        if first != end:
            how = f"over {before[:100]}" if first < end else f"beyond a gap behind {before[:100] or 'the header'}"
            raise InvalidValue(f"{file.path.name}: {name[:100]} lies {how}, so the file is damaged.")
        end, before = last, name
    if end != file.size:
        raise InvalidValue(f"{file.path.name} has {file.size - end} bytes behind its tensors, so it is damaged.")
