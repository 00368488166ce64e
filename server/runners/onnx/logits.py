"""Logits of one forward, as the passes left them: rows of a few tensors."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base import FloatRows, Logits, RowLogits, TokenIds
from . import graphs
from .device_rows import ELEMENTS
from .session import Session, Tensor, open_small


class Place(NamedTuple):
    """Where the logits of one position lie: in the tensor [B, P, vocabulary] that a pass made."""

    tensor: Tensor
    row: int
    position: int


ReadLogits = Callable[[Sequence[Place]], Logits]


def on_host(places: Sequence[Place]) -> RowLogits:
    """Logits that lie in the host's memory, as views of it."""
    tensors = {id(place.tensor): place.tensor for place in places}
    arrays = {number: tensor.numpy() for number, tensor in tensors.items()}
    return RowLogits([arrays[id(tensor)][row, at].astype(np.float32, copy=False) for tensor, row, at in places])


class Picker:
    """Reads logits that lie in a device's memory: ids of the best tokens or the rows asked for travel, and no more."""

    def __init__(self, device: str, dtype: np.dtype[Any]) -> None:
        self._device, self._dtype = device, dtype
        self._session: Session = open_small(graphs.picker(ELEMENTS[dtype]), device)

    def __call__(self, places: Sequence[Place]) -> "DeviceLogits":
        return DeviceLogits(self, places)

    def pick(self, output: str, places: Iterable[Place]) -> list[Any]:
        """`best` or `picked` of the graph for each of the places, in their order."""
        wanted = list(places)
        found: list[Any] = [None] * len(wanted)
        for tensor in {id(place.tensor): place.tensor for place in wanted}.values():
            numbers = [number for number, place in enumerate(wanted) if place.tensor is tensor]
            width = tensor.shape()[1]
            rows = np.array([wanted[number].row * width + wanted[number].position for number in numbers], np.int64)
            for number, value in zip(numbers, self._run(output, tensor, rows), strict=True):
                found[number] = value
        return found

    def _run(self, output: str, tensor: Tensor, rows: TokenIds) -> Any:
        shape = tensor.shape()
        binding = self._session.binding()
        binding.read_at("logits", self._device, self._dtype, [int(np.prod(shape[:-1])), shape[-1]], tensor.data_ptr())
        binding.feed("rows", rows)
        binding.make(output, "cpu")
        binding.run()
        return binding.made().numpy()


class DeviceLogits:
    """Logits in a device's memory."""

    def __init__(self, picker: Picker, places: Sequence[Place]) -> None:
        self._picker, self._places = picker, places

    def argmax(self, rows: Sequence[int]) -> TokenIds:
        return np.array(self._picker.pick("best", [self._places[row] for row in rows]), np.int64)

    def host(self, rows: Sequence[int]) -> FloatRows:
        return np.stack(self._picker.pick("picked", [self._places[row] for row in rows]))
