"""One token each for rows that are bound once, step after step: beside the graph a step costs a few numbers."""

from collections.abc import Sequence

import numpy as np

from .layout import Layout
from .rows import KvRows
from .session import Binding, Tensor

Key = tuple[int, int, int | None]  # first row, rows, adapter


class Decoding:
    """What decoding reads and writes, for all rows; neighbouring ones share a binding.

    The attention mask is as wide as a row can be long, so that its shape stays: the kernels count its ones. `logits`
    [rows, 1, vocabulary] are those of the last steps.
    """

    def __init__(self, layout: Layout, rows: KvRows, count: int, context_length: int) -> None:
        self._layout, self._rows, self._context_length = layout, rows, context_length
        self._ids, self._positions = np.zeros((count, 1), np.int64), np.zeros((count, 1), np.int64)
        self.logits = layout.room_for_logits(count)
        self._bindings: dict[Key, Binding] = {}
        self._places: dict[Key, int] = {}  # the row of `logits` where each begins to write
        self.rows_have_moved()

    def rows_have_moved(self) -> None:
        """Forget what knows their addresses or their capacity."""
        width = min(self._rows.capacity, self._context_length)  # kernels refuse more than the context
        self._mask = np.zeros((len(self._ids), width), np.int64)
        self._lengths = [0] * len(self._ids)  # ones in each row of the mask
        self._bindings.clear()
        self._places.clear()

    def step(
        self,
        first: int,
        tokens: Sequence[int],
        lengths: Sequence[int],
        adapter: tuple[int | None, dict[str, Tensor]],
        place: int,
    ) -> None:
        """Run rows from `first` on, whose lengths count the new tokens; logits go to rows from `place` on.

        Raises RunFailed.
        """
        for row, (token, length) in enumerate(zip(tokens, lengths, strict=True), first):
            self._ids[row, 0] = token
            self._positions[row, 0] = length - 1
            if length == self._lengths[row] + 1:
                self._mask[row, length - 1] = 1
            else:
                self._mask[row, :length] = 1
                self._mask[row, length:] = 0
            self._lengths[row] = length
        number, tensors = adapter
        key = (first, len(tokens), number)
        binding = self._bindings.get(key)
        if binding is None:
            binding = self._bindings[key] = self._layout.bind(self._rows, first, len(tokens), tensors)
            self._feed(binding, first, len(tokens))
        elif self._rows.device != "cpu":
            self._feed(binding, first, len(tokens))  # what was fed before was copied to the device
        if self._places.get(key) != place:
            self._layout.write_logits(binding, self.logits, place, len(tokens))
            self._places[key] = place
        binding.run()

    def _feed(self, binding: Binding, first: int, count: int) -> None:
        mine = slice(first, first + count)
        for name, array in self._layout.feeds(self._ids[mine], self._mask[mine], self._positions[mine]).items():
            binding.feed(name, array)
