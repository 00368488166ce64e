"""How llama.cpp's calls are made of a batch: every wanted row once, one adapter a call, and few changes of it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runners.base import Segment

pytest.importorskip("llama_cpp")
from server.runners.llama.runner import CHUNK_TOKENS, calls_of

ADAPTERS = st.sampled_from([None, 0, 1, 2])


@st.composite
def batches(draw: st.DrawFn) -> list[Segment]:
    segments = []
    for slot in draw(st.permutations(range(draw(st.integers(1, 8))))):
        count = draw(st.sampled_from([1, 1, 1, 2, 40, 64, 130]))
        start = draw(st.integers(0, 130))
        wanted = draw(st.sampled_from([range(0), range(count - 1, count), range(count)]))
        segments.append(Segment(slot, list(range(count)), start, wanted, adapter=draw(ADAPTERS)))
    return segments


@given(batch=batches(), active=ADAPTERS)
def test_calls_of_any_batch(batch: list[Segment], active: int | None) -> None:
    calls = calls_of(batch, active)
    used = [{piece.segment.adapter for piece in call} for call in calls]
    assert all(len(adapters) == 1 for adapters in used)
    rows = [piece.row + n for call in calls for piece in call for n in range(len(piece.segment.wanted))]
    assert sorted(rows) == list(range(sum(len(segment.wanted) for segment in batch)))
    for call in calls:
        slots = [piece.segment.slot for piece in call]
        assert slots == sorted(slots)
        assert len(call) == 1 or all(len(piece.segment.tokens) == 1 for piece in call)
        assert all(piece.segment.start // CHUNK_TOKENS == _last(piece.segment) // CHUNK_TOKENS for piece in call)
    for segment in batch:
        parts = [piece.segment for call in calls for piece in call if piece.segment.slot == segment.slot]
        assert [token for part in parts for token in part.tokens] == segment.tokens
        assert all(_last(a) + 1 == b.start for a, b in pairwise(parts))
    changes = sum(a != b for a, b in pairwise([{active}, *used]))
    prompts = {segment.adapter for segment in batch if len(segment.tokens) > 1}
    decodes = {segment.adapter for segment in batch if len(segment.tokens) == 1}
    assert changes <= len(prompts) + len(decodes)
    if not prompts:
        assert changes == len(decodes - {active})


def _last(segment: Segment) -> int:
    return segment.start + len(segment.tokens) - 1
