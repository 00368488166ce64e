"""Which row of the KV memory each slot has. Pure: it says which rows trade places, the runner moves them."""

from collections.abc import Sequence


class Arrangement:
    """The books of rows, slots and used lengths. What steps together has to lie in neighbouring rows."""

    def __init__(self, count: int) -> None:
        self._row = list(range(count))  # of each slot
        self._slot = list(range(count))  # of each row
        self.lengths = [0] * count  # tokens that each slot holds

    def row(self, slot: int) -> int:
        return self._row[slot]

    def row_lengths(self, first: int = 0, count: int | None = None) -> list[int]:
        """Tokens in rows from `first` on."""
        slots = self._slot[first : None if count is None else first + count]
        return [self.lengths[slot] for slot in slots]

    def gather(self, slots: Sequence[int]) -> tuple[int, list[tuple[int, int]]]:
        """Bring slots into neighbouring rows: the first of the rows, and the pairs of rows that trade places for it."""
        rows = sorted(self._row[slot] for slot in slots)
        if rows[-1] - rows[0] == len(rows) - 1:
            return rows[0], []
        starts = range(len(self._slot) - len(rows) + 1)
        first = min(starts, key=lambda start: self._moved(start, rows))
        window = range(first, first + len(rows))
        outside = [row for row in rows if row not in window]
        strangers = [row for row in window if row not in rows]
        pairs = list(zip(outside, strangers, strict=True))
        for pair in pairs:
            self._trade(*pair)
        return first, pairs

    def _moved(self, start: int, rows: Sequence[int]) -> int:
        """Tokens that have to be moved to bring `rows` to the rows from `start` on."""
        window = range(start, start + len(rows))
        moved = set(rows).symmetric_difference(window)
        return sum(self.lengths[self._slot[row]] for row in moved)

    def _trade(self, one: int, other: int) -> None:
        a, b = self._slot[one], self._slot[other]
        self._slot[one], self._slot[other] = b, a
        self._row[a], self._row[b] = other, one
