"""The little that is read of a GGUF file without an engine. Bounded: the file may be a stranger's.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidValue

_MAGIC = b"GGUF"
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a scalar, by type
_UINT32, _STRING, _ARRAY, _UINT64 = 4, 8, 9, 10
_LONGEST_KEY = 1 << 16
_MOST_KEYS = 1 << 12
_MOST_STRINGS = 1 << 20  # more tokens than any vocabulary has


def context_length(path: Path) -> int | None:
    """Tokens the model was trained to attend to; None where the header does not say.

    Raises InvalidValue for a file that is not GGUF.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise InvalidValue(f"{path} is no GGUF file; Cupola loads GGUF files and ONNX Runtime GenAI folders.")
        try:
            return _search(file, ".context_length")
        except (struct.error, ValueError):
            return None


def _search(file: BinaryIO, suffix: str) -> int | None:
    _, _, keys = struct.unpack("<IQQ", file.read(20))
    for _ in range(min(keys, _MOST_KEYS)):
        key = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if kind == _STRING:
            _string(file)
        elif kind == _ARRAY:
            _skip_array(file)
        else:
            value = file.read(_SIZES[kind]) if kind in _SIZES else b""
            if key.endswith(suffix) and kind in {_UINT32, _UINT64}:
                return int.from_bytes(value, "little")
    return None


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST_KEY:
        raise ValueError("a string too long to be read here")
    return file.read(length).decode("utf-8", errors="replace")


def _skip_array(file: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind in _SIZES:
        file.seek(count * _SIZES[kind], 1)
    elif kind == _STRING and count <= _MOST_STRINGS:
        for _ in range(count):
            _string(file)
    else:
        raise ValueError("an array that no model has")
