"""Which texts an encoder computes together. Pure."""

from collections.abc import Sequence

MOST_PADDING = 0.25  # of a row


def choose(anchor: int, lengths: Sequence[int], budget: int) -> list[int]:
    """Places in `lengths` of the rows that are computed in one call with the row at place `anchor`, that one first.

    The nearest in length join first, for as long as all of them, padded to the longest, are no more than `budget`
    tokens, and no row is padded by more than a quarter. The anchor comes alone where it is larger than the budget.
    """
    wanted = lengths[anchor]
    others = sorted((place for place in range(len(lengths)) if place != anchor), key=lambda p: abs(lengths[p] - wanted))
    chosen, shortest, longest = [anchor], wanted, wanted
    for place in others:
        low, high = min(shortest, lengths[place]), max(longest, lengths[place])
        if high * (len(chosen) + 1) > budget or low < high * (1 - MOST_PADDING):
            break
        chosen.append(place)
        shortest, longest = low, high
    return chosen
