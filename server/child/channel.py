"""The pipe between the server process and a child: length-prefixed MessagePack frames on stdin and stdout.

Both ends know the set of message types (a union of tagged msgspec structures), so decoding validates and nothing is
ever unpickled. A child reads end-of-file when its parent is gone, however the parent died.
"""

import os
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO, Generic, TypeVar

import msgspec

from .platform import forbid_core_dumps

MAX_FRAME = 64 << 20  # a larger length means a corrupt stream
_LENGTH = struct.Struct("<I")

Incoming = TypeVar("Incoming")


def frame(message: msgspec.Struct) -> bytes:
    """One message as bytes on the wire."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def frame_length(header: bytes) -> int:
    """The length that a frame header announces; ValueError if no sane peer would send it."""
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes")
    return int(length)


HEADER_BYTES = _LENGTH.size


class ChildChannel(Generic[Incoming]):
    """The child's end. Blocking; `receive` and `send` may be used from two different threads, each by one only."""

    def __init__(self, incoming: type[Incoming], source: BinaryIO, sink: BinaryIO) -> None:
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._source = source
        self._sink = sink

    @classmethod
    def from_standard_streams(cls, incoming: type[Incoming]) -> "ChildChannel[Incoming]":
        """Take stdin and stdout as the pipe; whatever a library prints from now on goes to stderr."""
        forbid_core_dumps()
        source = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
        sink = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(incoming, source, sink)

    def messages(self) -> Iterator[Incoming]:
        """Messages of the parent until it closes its end or is gone."""
        while len(header := self._source.read(HEADER_BYTES)) == HEADER_BYTES:
            length = frame_length(header)
            body = self._source.read(length)
            if len(body) < length:
                return
            yield self._decoder.decode(body)

    def send(self, message: msgspec.Struct) -> None:
        """Send one message; OSError when the parent is gone."""
        view = memoryview(frame(message))
        while view:
            view = view[self._sink.write(view) :]
