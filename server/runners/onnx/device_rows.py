"""KV entries that stay in a device's memory: they are moved by tiny graphs that run there.

Python has no pointers into tensors of ONNX Runtime but their address, so a row is bound as address plus offset.
The tests run this with the CPU as the device. It has not run on a GPU yet.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from . import graphs
from .rows import STEP
from .session import Tensor, allocate, open_small, placed

ELEMENTS = {np.dtype(np.float32): graphs.FLOAT, np.dtype(np.float16): graphs.FLOAT16}


class DeviceRows:
    """As HostRows, but whole rows are copied: on a device each copy costs a launch, and the bytes next to nothing."""

    def __init__(
        self, device: str, layers: int, rows: int, kv_heads: int, head_size: int, dtype: npt.DTypeLike
    ) -> None:
        self.device = device
        self.dtype = np.dtype(dtype)
        self.bytes_per_token = 2 * layers * kv_heads * head_size * self.dtype.itemsize
        self._layers, self._shape = layers, (rows, kv_heads, STEP, head_size)
        self._tensors = self._empty()
        self._mover = open_small(graphs.mover(ELEMENTS[self.dtype]), device)

    def _empty(self) -> list[Tensor]:
        # Zeros, since what follows the used part of a row is multiplied by 0 in some kernels, and must be a number.
        empty = np.zeros(self._shape, self.dtype)
        return [placed(empty.copy(), self.device) for _ in range(2 * self._layers)]

    @property
    def capacity(self) -> int:
        return min(int(tensor.shape()[2]) for tensor in self._tensors)

    def grow(self, capacity: int, lengths: Sequence[int]) -> None:
        for index, tensor in enumerate(self._tensors):
            rows, heads, held, size = tensor.shape()
            larger = allocate([rows, heads, max(capacity, held), size], self.dtype, self.device)
            self._move(tensor.shape(), tensor.data_ptr(), larger.shape(), larger.data_ptr())
            self._tensors[index] = larger

    def copy(self, source: int, target: int, length: int) -> None:
        for index in range(len(self._tensors)):
            self._copy(index, source, target)

    def swap(self, one: int, other: int, length: int, other_length: int) -> None:
        for index in range(len(self._tensors)):
            shape, address = self.view(index, one, 1)
            kept = allocate(shape, self.dtype, self.device)
            self._move(shape, address, shape, kept.data_ptr())
            self._copy(index, other, one)
            self._move(shape, kept.data_ptr(), shape, self.view(index, other, 1)[1])

    def view(self, index: int, first: int, count: int) -> tuple[list[int], int]:
        tensor: Tensor = self._tensors[index]
        shape = [count, *tensor.shape()[1:]]
        return shape, tensor.data_ptr() + first * int(np.prod(shape[1:])) * self.dtype.itemsize

    def release(self) -> None:
        self._tensors.clear()
        self._tensors = self._empty()

    def close(self) -> None:
        self._tensors.clear()
        self._mover.close()

    def _copy(self, index: int, source: int, target: int) -> None:
        shape, address = self.view(index, source, 1)
        self._move(shape, address, shape, self.view(index, target, 1)[1])

    def _move(self, shape: list[int], source: int, larger: list[int], target: int) -> None:
        """Copy a tensor to an address, with zeros where the target's shape is larger."""
        binding = self._mover.binding()
        binding.read_at("x", self.device, self.dtype, shape, source)
        binding.feed("pads", np.array([0] * 4 + [b - a for a, b in zip(shape, larger, strict=True)], np.int64))
        binding.write_at("moved", self.device, self.dtype, larger, target)
        binding.run()
