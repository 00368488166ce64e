"""KV entries: a row for each slot, so that rows which step together are neighbours and can be bound as one tensor."""

import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

STEP = 256  # positions by which the capacity grows
SMALL = 128 << 20  # bytes of all rows, up to which unused ones may cost memory for the sake of speed


class KvRows(Protocol):
    """2 * layers arrays [rows, kv_heads, capacity, head_size]; of layer i the key is 2 i and the value 2 i + 1."""

    device: str
    dtype: np.dtype[Any]
    bytes_per_token: int

    @property
    def capacity(self) -> int:
        """Positions that every row has room for."""
        ...

    def grow(self, capacity: int, lengths: Sequence[int]) -> None:
        """Have this capacity; `lengths` are the used parts of the rows. Addresses change.

        They do so also when MemoryError is raised: then nothing is lost and the capacity is what it was.
        """
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of a row those of another."""
        ...

    def swap(self, one: int, other: int, length: int, other_length: int) -> None:
        """Trade the used parts of two rows."""
        ...

    def view(self, index: int, first: int, count: int) -> tuple[list[int], int]:
        """Shape [count, kv_heads, capacity, head_size] and address of neighbouring rows of one array."""
        ...

    def release(self) -> None:
        """Forget what the rows hold and give the memory back; the capacity is the smallest again. Addresses change."""
        ...

    def close(self) -> None:
        """Give the memory back for good."""
        ...


def grown(capacity: int, needed: int, limit: int) -> int:
    """The next capacity: half as much again, so that a long text is copied a few times only, in whole steps."""
    return -(-min(max(needed, capacity * 3 // 2), max(limit, needed)) // STEP) * STEP


class Zeros:
    """An array of zeros that takes no memory until it is written, page by page. Raises MemoryError.

    Small ones are in huge pages: a step of one sequence is 5 % faster. Large ones are not, as `np.zeros` would have
    them, since a short text in a long row fills one for each head: 700 MB instead of 113 in a trial with one long and
    seven short rows, for attention that reads long rows 7 % faster.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape)) * dtype.itemsize
        try:
            if sys.platform == "win32":
                self._memory = mmap.mmap(-1, size)
            else:
                self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(str(error)) from None
        if sys.platform == "linux" and size <= SMALL:
            with suppress(OSError):  # a kernel without them
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        self.array: npt.NDArray[Any] = np.frombuffer(self._memory, dtype).reshape(shape)

    def give_back(self, index: int) -> None:
        """Forget the part [index, ...] of the array, which then takes no memory."""
        if sys.platform != "win32":
            size = self.array[0].nbytes
            self._memory.madvise(mmap.MADV_DONTNEED, index * size, size)


class HostRows:
    """In the host's memory. Beyond SMALL, rows or parts of them that were never used cost nothing."""

    device = "cpu"

    def __init__(self, layers: int, rows: int, kv_heads: int, head_size: int, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.bytes_per_token = 2 * layers * kv_heads * head_size * self.dtype.itemsize
        self._entries = Zeros((2 * layers, rows, kv_heads, STEP, head_size), self.dtype)

    @property
    def capacity(self) -> int:
        return int(self._entries.array.shape[3])

    def grow(self, capacity: int, lengths: Sequence[int]) -> None:
        """One key or value array after the other, so that never more than one of them is there twice."""
        entries = self._entries.array
        larger = Zeros((*entries.shape[:3], capacity, entries.shape[4]), self.dtype)
        for index, array in enumerate(entries):
            for row, length in enumerate(lengths):
                larger.array[index, row, :, :length] = array[row, :, :length]
            self._entries.give_back(index)
        self._entries = larger

    def copy(self, source: int, target: int, length: int) -> None:
        for array in self._entries.array:
            array[target, :, :length] = array[source, :, :length]

    def swap(self, one: int, other: int, length: int, other_length: int) -> None:
        for array in self._entries.array:
            kept = array[one, :, :length].copy()
            array[one, :, :other_length] = array[other, :, :other_length]
            array[other, :, :length] = kept

    def view(self, index: int, first: int, count: int) -> tuple[list[int], int]:
        part = self._entries.array[index, first : first + count]
        return list(part.shape), part.ctypes.data

    def release(self) -> None:
        shape = self._entries.array.shape
        del self._entries
        self._entries = Zeros((*shape[:3], STEP, shape[4]), self.dtype)

    def close(self) -> None:
        del self._entries
