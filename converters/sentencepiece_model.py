"""The pieces in a SentencePiece `tokenizer.model`, read without its library. Bounded: the file may be a stranger's.

It is a protocol buffer: a message whose field 1, repeated, is a piece with text (1), score (2) and type (3).
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from server.errors import InvalidValue

from .tokenizer_json import NORMAL, USER_DEFINED

LARGEST = 64 << 20  # bytes
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types
_PIECE, _TEXT, _SCORE, _KIND = 1, 1, 2, 3


class Piece(NamedTuple):
    """`kind` is one of ggml's types, which are SentencePiece's."""

    text: str
    score: float
    kind: int


def read(path: Path) -> list[Piece]:
    """Raises InvalidValue for what is no such file."""
    if path.stat().st_size > LARGEST:
        raise InvalidValue(f"{path} has more than {LARGEST >> 20} MB.")
    try:
        found = [_piece(value) for field, value in _fields(path.read_bytes()) if field == _PIECE]
    except (IndexError, TypeError, ValueError, struct.error):
        found = []
    if not found:
        raise InvalidValue(f"{path} is no model of SentencePiece.")
    return found


def _piece(content: object) -> Piece:
    if not isinstance(content, bytes):
        raise TypeError("a piece is a message")
    fields = dict(_fields(content))
    text, score, kind = fields.get(_TEXT), fields.get(_SCORE, bytes(4)), fields.get(_KIND, NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise TypeError("a piece has a text, a score and a kind")
    # llama.cpp's converter asks for all kinds but this one, so such a piece is a normal one there
    return Piece(text.decode(), struct.unpack("<f", score)[0], NORMAL if kind == USER_DEFINED else kind)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers of fields with their values: bytes, or a number for a varint."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        wire, size = key & 7, 0
        if wire == _VARINT:
            number, at = _varint(content, at)
            yield key >> 3, number
            continue
        if wire == _BYTES:
            size, at = _varint(content, at)
        else:
            size = {_EIGHT: 8, _FOUR: 4}.get(wire, len(content) + 1)
        if size > len(content) - at:
            raise ValueError("longer than the file")
        yield key >> 3, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
