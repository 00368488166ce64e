"""The pure parts of the onnx engine: passes, rows and providers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import LoadFailed
from server.runners.base import Batch, Segment
from server.runners.onnx.arrangement import Arrangement
from server.runners.onnx.passes import CHUNK_TOKENS, WASTE, Pass, passes
from server.runners.onnx.providers import CPU, CUDA, providers_for
from server.runners.onnx.rows import STEP, grown


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    segments = []
    for slot in draw(st.lists(st.integers(0, 15), unique=True, min_size=1)):
        count = draw(st.one_of(st.just(1), st.integers(1, 200)))
        start = draw(st.one_of(st.just(0), st.integers(1, 300)))
        first = draw(st.integers(0, count))
        wanted = range(first, draw(st.integers(first, count)))
        adapter = draw(st.sampled_from([None, None, 0, 1]))
        segments.append(Segment(slot, list(range(count)), start, wanted, adapter=adapter))
    return segments


def positions(group: Pass) -> list[tuple[int, int]]:
    return [(piece.segment.slot, piece.segment.start + at) for piece in group for at in range(piece.width)]


@given(batches())
def test_every_token_runs_once_and_after_those_before_it(batch: Batch) -> None:
    plan = passes(batch)
    ran = [place for group in [*plan.prompts, *plan.decodes] for place in positions(group)]
    assert sorted(ran) == sorted((s.slot, s.start + at) for s in batch for at in range(len(s.tokens)))
    for segment in batch:
        mine = [position for slot, position in ran if slot == segment.slot]
        assert mine == sorted(mine)


@given(batches())
def test_every_wanted_position_has_its_row(batch: Batch) -> None:
    plan = passes(batch)
    rows = {}
    for piece in (piece for group in [*plan.prompts, *plan.decodes] for piece in group):
        for number, offset in enumerate(piece.segment.wanted):
            rows[piece.place + number] = (piece.segment.slot, piece.segment.start + offset)
    asked = [(segment.slot, segment.start + offset) for segment in batch for offset in segment.wanted]
    assert [rows[number] for number in range(len(rows))] == asked


@given(batches(), st.sampled_from([1, WASTE]))
def test_a_pass_is_one_that_the_kernels_can_compute(batch: Batch, waste: float) -> None:
    plan = passes(batch, waste=waste)
    for group in [*plan.prompts, *plan.decodes]:
        assert len({piece.segment.adapter for piece in group}) == 1
        assert len({piece.segment.slot for piece in group}) == len(group)
    for group in plan.prompts:
        assert len(group) == 1 or all(piece.segment.start == 0 for piece in group)
        widest = max(piece.width for piece in group)
        assert widest <= CHUNK_TOKENS
        assert widest * len(group) <= waste * sum(piece.width for piece in group)
    for group in plan.decodes:
        assert all(piece.width == 1 and piece.segment.start for piece in group)


def test_prompts_of_like_length_run_together_and_decodes_all() -> None:
    batch = [
        Segment(slot, [1] * count, start, range(0))
        for slot, (start, count) in enumerate([(0, 30), (9, 1), (0, 31), (700, 1), (0, 5), (0, 33)])
    ]
    plan = passes(batch)
    assert [[piece.segment.slot for piece in group] for group in plan.prompts] == [[4], [0, 2, 5]]
    assert [[piece.segment.slot for piece in group] for group in plan.decodes] == [[1, 3]]


@given(st.data(), st.integers(1, 12))
def test_gathered_slots_are_neighbours_and_nobody_is_lost(data: st.DataObject, count: int) -> None:
    seats = Arrangement(count)
    contents: list[int | None] = list(range(count))  # of each row: the slot whose entries it holds
    for _ in range(data.draw(st.integers(1, 8))):
        seats.lengths[:] = data.draw(st.lists(st.integers(0, 99), min_size=count, max_size=count))
        slots = data.draw(st.permutations(range(count)))[: data.draw(st.integers(1, count))]
        first, pairs = seats.gather(slots)
        for one, other in pairs:
            contents[one], contents[other] = contents[other], contents[one]
        assert sorted(seats.row(slot) for slot in slots) == list(range(first, first + len(slots)))
        assert [contents[seats.row(slot)] for slot in range(count)] == list(range(count))
        assert seats.row_lengths() == [seats.lengths[contents[row] or 0] for row in range(count)]


def test_short_rows_are_moved_rather_than_long_ones() -> None:
    seats = Arrangement(4)
    seats.lengths[:] = [900, 0, 10, 1000]
    assert seats.gather([0, 2]) == (0, [(2, 1)])
    seats = Arrangement(4)
    seats.lengths[:] = [10, 0, 900, 1000]
    assert seats.gather([0, 2]) == (1, [(0, 1)])
    assert seats.gather([0, 2]) == (1, []), "nothing moves twice"


@pytest.mark.parametrize(
    ("capacity", "needed", "limit", "expected"),
    [
        (256, 257, 8192, 512),
        (1024, 1025, 8192, 1536),
        (256, 5000, 8192, 5120),
        (7168, 7169, 8192, 8192),
        (256, 300, 300, 512),
    ],
)
def test_capacity_grows_by_half_in_whole_steps(capacity: int, needed: int, limit: int, expected: int) -> None:
    assert grown(capacity, needed, limit) == expected
    assert expected % STEP == 0


def test_a_device_has_its_providers() -> None:
    wheel = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers_for("cuda", wheel) == [CUDA, CPU]
    assert providers_for("cpu", wheel) == [CPU]


def test_a_device_out_of_reach_is_refused_with_what_helps() -> None:
    with pytest.raises(
        LoadFailed, match=r"cannot use cuda \(it has CPUExecutionProvider\).*pip install 'cupola\[cuda\]'"
    ):
        providers_for("cuda", ["CPUExecutionProvider"])
    with pytest.raises(LoadFailed, match=r"cpu and cuda, not on directml.*genai"):
        providers_for("directml", ["DmlExecutionProvider", "CPUExecutionProvider"])
