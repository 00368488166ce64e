"""Which texts are computed together."""

from hypothesis import given
from hypothesis import strategies as st

from server.worker.batching import MOST_PADDING, choose

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 600), st.data())
def test_a_batch_has_its_anchor_and_keeps_the_bounds(lengths: list[int], budget: int, data: st.DataObject) -> None:
    anchor = data.draw(st.integers(0, len(lengths) - 1))
    chosen = choose(anchor, lengths, budget)
    assert chosen[0] == anchor
    assert len(set(chosen)) == len(chosen)
    longest, shortest = max(lengths[place] for place in chosen), min(lengths[place] for place in chosen)
    assert len(chosen) == 1 or longest * len(chosen) <= budget
    assert shortest >= longest * (1 - MOST_PADDING)


@given(LENGTHS, st.integers(1, 600))
def test_every_text_gets_its_turn(lengths: list[int], budget: int) -> None:
    left, batches = list(lengths), 0
    while left:
        chosen = set(choose(0, left, budget))
        left = [length for place, length in enumerate(left) if place not in chosen]
        batches += 1
    assert batches <= len(lengths)


def test_like_lengths_come_together() -> None:
    assert choose(0, [10, 100, 11, 9, 90], 1000) == [0, 2, 3]
    assert choose(1, [10, 100, 11, 9, 90], 1000) == [1, 4]
    assert choose(1, [10, 100, 11, 9, 90], 150) == [1]
