"""GGUF files, read without an engine. Bounded: the file may be a stranger's.

Every count and length is checked against the size of the file before anything is allocated or looped over, so that a
hostile header is an error within a second. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from dataclasses import dataclass
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValue

if TYPE_CHECKING:  # most readers want a header, and no array of it
    import numpy as np
    import numpy.typing as npt

_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
_MOST_KEYS, _MOST_TENSORS = 1 << 12, 1 << 14
_MOST_ELEMENTS = 1 << 21  # of one array of numbers
_MOST_STRINGS = 1 << 20  # in all arrays together; a vocabulary and its merges have 800,000 where there are most
_LONGEST_KEY, _LONGEST_STRING = 1 << 12, 1 << 24
_MOST_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32

# ggml's types: (name, elements of a block, bytes of a block).
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a file. `shape` is in NumPy's order: the last dimension is contiguous and quantised in blocks."""

    name: str
    kind: str  # ggml's name of the type: "Q4_K"
    shape: tuple[int, ...]
    offset: int  # from the start of the file
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Gguf:
    """A parsed header. `metadata` values are scalars, strings, lists of strings, or arrays of numbers."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """A value under the prefix of the architecture: get("block_count") is `llama.block_count` of a llama model."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    @property
    def matrices(self) -> int:
        """How many tensors have more than one axis: those that a quantisation rounds."""
        return sum(len(info.shape) > 1 for info in self.tensors.values())

    def raw(self, info: TensorInfo) -> "npt.NDArray[np.uint8]":
        """The bytes of a tensor, mapped from the file, [size]."""
        import numpy as np

        return np.memmap(self.path, np.uint8, "r", info.offset, (info.size,))


def read(path: Path) -> Gguf:
    """The header of a GGUF file. Raises InvalidValue, with the reason, for anything that is not a whole valid file."""
    if path.exists() and not path.is_file():
        raise InvalidValue(f"{path} is no file, and no GGUF file.")  # opening a pipe would wait for a writer
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return _Reader(path, content).header()
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise InvalidValue(f"{path} is no GGUF file: {reason}.") from None


def context_length(path: Path) -> int | None:
    """Tokens the model was trained to attend to; None where the header does not say. Raises InvalidValue."""
    length = read(path).get("context_length")
    return length if isinstance(length, int) and length > 0 else None


class _Reader:
    """A position in a mapped file. Every step says how many bytes it needs first."""

    def __init__(self, path: Path, content: mmap) -> None:
        self._path = path
        self._content = content
        self._at = 0
        self._strings_read = 0

    def header(self) -> Gguf:
        if self._take(4) != _MAGIC:
            raise InvalidValue(f"{self._path} is no GGUF file; Cupola loads GGUF files and ONNX Runtime GenAI folders.")
        version = self._scalar("I")
        if version not in {2, 3}:
            raise self._bad(f"version {version} is not supported (2 and 3 are)")
        tensors, keys = self._scalar("Q"), self._scalar("Q")
        self._bound("keys", keys, _MOST_KEYS)
        self._bound("tensors", tensors, _MOST_TENSORS)
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string(_LONGEST_KEY)
            if key in metadata:
                raise self._bad(f"key {key!r} appears twice")
            metadata[key] = self._value(self._scalar("I"))
        infos = [self._tensor() for _ in range(tensors)]
        return Gguf(self._path, metadata, self._placed(infos, metadata))

    def _placed(self, infos: list[TensorInfo], metadata: dict[str, Any]) -> dict[str, TensorInfo]:
        """The tensors by name, with offsets from the start of the file, each inside it."""
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise self._bad(f"an alignment of {alignment!r}")
        start = -(-self._at // alignment) * alignment
        placed: dict[str, TensorInfo] = {}
        for info in infos:
            offset = start + info.offset
            if info.name in placed:
                raise self._bad(f"tensor {info.name!r} appears twice")
            if info.offset % alignment:
                raise self._bad(f"tensor {info.name!r} is not aligned")
            if offset + info.size > len(self._content):
                raise self._bad(
                    f"tensor {info.name!r} ends at byte {offset + info.size}, the file at {len(self._content)}; the"
                    " download may be incomplete"
                )
            placed[info.name] = TensorInfo(info.name, info.kind, info.shape, offset, info.size)
        self._refuse_overlaps(placed)
        return placed

    def _refuse_overlaps(self, placed: dict[str, TensorInfo]) -> None:
        """Bytes that belong to two tensors would let a small file describe a huge model."""
        end = 0
        for info in sorted(placed.values(), key=lambda info: info.offset):
            if info.offset < end:
                raise self._bad(f"tensor {info.name!r} lies inside another")
            end = info.offset + info.size

    def _tensor(self) -> TensorInfo:
        name = self._string(_LONGEST_KEY)
        count = self._scalar("I")
        self._bound(f"dimensions of {name!r}", count, _MOST_DIMENSIONS)
        dimensions = [self._scalar("Q") for _ in range(count)]
        kind, offset = self._scalar("I"), self._scalar("Q")
        if kind not in TYPES:
            raise self._bad(f"tensor {name!r} has the unknown type {kind}")
        type_name, block, block_bytes = TYPES[kind]
        if not dimensions or 0 in dimensions or dimensions[0] % block:
            raise self._bad(f"tensor {name!r} of type {type_name} has the dimensions {dimensions}")
        size = prod(dimensions) // block * block_bytes
        return TensorInfo(name, type_name, tuple(reversed(dimensions)), offset, size)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string(_LONGEST_STRING)
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise self._bad(f"a value of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _array(self) -> "list[str] | npt.NDArray[Any]":
        kind, count = self._scalar("I"), self._scalar("Q")
        self._bound("array elements", count, _MOST_ELEMENTS)
        if kind == _STRING:
            return self._strings(count)
        if kind not in _SCALARS:
            raise self._bad(f"an array of the unknown type {kind}")
        import numpy as np

        dtype = np.dtype(_SCALARS[kind]).newbyteorder("<")
        return np.frombuffer(self._take(count * dtype.itemsize), dtype).copy()

    def _strings(self, count: int) -> list[str]:
        """An array of strings, in a loop without calls: it is most of what a header has."""
        self._strings_read += count
        self._bound("strings in arrays", self._strings_read, _MOST_STRINGS)
        self._need(count * _LENGTH.size)
        found: list[str] = []
        content, at, end = self._content, self._at, len(self._content)
        for _ in range(count):
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(content, at)[0] if start <= end else start
            if at > end or at - start > _LONGEST_STRING:
                raise self._bad("a string in an array is too long; the download may be incomplete")
            found.append(content[start:at].decode("utf-8", "replace"))
        self._at = at
        return found

    def _string(self, longest: int) -> str:
        length = self._scalar("Q")
        self._bound("bytes of a string", length, longest)
        return self._take(length).decode("utf-8", "replace")

    def _scalar(self, code: str) -> Any:
        size = struct.calcsize(f"<{code}")
        return struct.unpack(f"<{code}", self._take(size))[0]

    def _take(self, count: int) -> bytes:
        self._need(count)
        self._at += count
        return self._content[self._at - count : self._at]

    def _need(self, count: int) -> None:
        if self._at + count > len(self._content):
            raise self._bad("it ends in the middle of its header; the download may be incomplete")

    def _bound(self, what: str, count: int, most: int) -> None:
        if count > most:
            raise self._bad(f"{count} {what}, more than any model has ({most})")

    def _bad(self, reason: str) -> InvalidValue:
        return InvalidValue(f"{self._path} is not a valid GGUF file: {reason}.")
