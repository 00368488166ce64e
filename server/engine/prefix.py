"""Which KV slot a new sequence takes, and how much of its prompt is there already. Pure."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# Below this many tokens a copied prefix saves less than the bookkeeping of another shared range costs.
MIN_COPY = 16


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of a new sequence: `slot` shall hold the first `reused` tokens of `source` (itself or another)."""

    slot: int
    source: int
    reused: int


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix; slices compare at C speed, so this is a binary search over them."""
    longest = min(len(a), len(b))
    if a[:longest] == b[:longest]:
        return longest
    return bisect_left(range(longest), True, key=lambda n: a[: n + 1] != b[: n + 1])


def reusable(reused: int, length: int, grid: int, least: int) -> int:
    """How much of a common prefix to reuse so that the next chunk of a prompt of `length` has `least` tokens.

    Chunks end at multiples of `grid`. One that would be as short without reuse, at the end of the prompt, may be.
    """
    start = reused // grid * grid
    end = min(start + grid, length)
    return max(start, min(reused, end - least))


def choose_seat(
    prompt: Sequence[int], held: Mapping[int, Sequence[int]], free: Sequence[int], sources: Collection[int]
) -> Seat:
    """The slot for `prompt`, of the `free` ones (least recently used first), given what every slot holds.

    `sources` are the slots whose entries may stand for a part of it: those that the same adapter computed.

    1. The slot with the longest common prefix is the source; at least one token of the prompt is left to compute.
    2. If it is free and the prefix is at least half of what it holds (the same conversation, continued): take it.
    3. Otherwise a copy goes to an empty slot, or else to the least recently used one, so that a long conversation is
       not cut down to the system prompt that it shares with the newcomer.
    """
    lengths = {slot: common_prefix(prompt[:-1], held[slot]) for slot in sources}
    source = max(lengths, key=lambda slot: (lengths[slot], slot in free), default=free[0])
    length = lengths.get(source, 0)
    if source in free and length and 2 * length >= len(held[source]):
        return Seat(source, source, length)
    target = next((slot for slot in free if not held[slot]), free[0])
    if target == source or length >= MIN_COPY:
        return Seat(target, source, length)
    return Seat(target, target, lengths.get(target, 0))
