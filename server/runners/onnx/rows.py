"""KV entries: a row for each slot, so that rows which step together are neighbours and can be bound as one tensor."""

import mmap
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

STEP = 256  # positions by which the capacity grows


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

    def close(self) -> None:
        """Give the memory back."""
        ...


def grown(capacity: int, needed: int, limit: int) -> int:
    """The next capacity: half as much again, so that a long text is copied a few times only, in whole steps."""
    return -(-min(max(needed, capacity * 3 // 2), max(limit, needed)) // STEP) * STEP


def untouched(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros that take no memory until they are written, page by page. Raises MemoryError.

    `np.zeros` asks for huge pages, and a short text in a long row would fill one for each head: 700 MB instead of 113
    in a trial with one long and seven short rows. Long rows are read 7 % slower for it.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        if sys.platform == "win32":
            memory = mmap.mmap(-1, size)
        else:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(str(error)) from None
    return np.frombuffer(memory, dtype).reshape(shape)


class HostRows:
    """In the host's memory. Rows, or parts of them, that were never used cost nothing."""

    device = "cpu"

    def __init__(self, layers: int, rows: int, kv_heads: int, head_size: int, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.bytes_per_token = 2 * layers * kv_heads * head_size * self.dtype.itemsize
        self._arrays = [untouched((rows, kv_heads, STEP, head_size), self.dtype) for _ in range(2 * layers)]

    @property
    def capacity(self) -> int:
        return min(int(array.shape[2]) for array in self._arrays)

    def grow(self, capacity: int, lengths: Sequence[int]) -> None:
        """One array after the other, so that never more than one of them is there twice."""
        for index, array in enumerate(self._arrays):
            larger = untouched((*array.shape[:2], max(capacity, array.shape[2]), array.shape[3]), self.dtype)
            for row, length in enumerate(lengths):
                larger[row, :, :length] = array[row, :, :length]
            self._arrays[index] = larger

    def copy(self, source: int, target: int, length: int) -> None:
        for array in self._arrays:
            array[target, :, :length] = array[source, :, :length]

    def swap(self, one: int, other: int, length: int, other_length: int) -> None:
        for array in self._arrays:
            kept = array[one, :, :length].copy()
            array[one, :, :other_length] = array[other, :, :other_length]
            array[other, :, :length] = kept

    def view(self, index: int, first: int, count: int) -> tuple[list[int], int]:
        part = self._arrays[index][first : first + count]
        return list(part.shape), part.ctypes.data

    def close(self) -> None:
        self._arrays.clear()
