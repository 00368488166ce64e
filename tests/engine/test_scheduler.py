"""The scheduler's books under any order of events, and the arithmetic it rests on."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.engine.arrival import make_sequences
from server.engine.guidance import Guides
from server.engine.pace import FIRST_GUESS, Pace
from server.engine.prefix import choose_seat, common_prefix, reusable
from server.engine.scheduler import Scheduler, fair_shares
from server.engine.sequence import Sequence
from server.runners.base import ModelRunner, RunnerInfo
from server.types import Request, SamplingParams

from .driving import fake_runner

TOKENS = st.lists(st.integers(0, 2), max_size=12)


def one_sequence(request: Request, runner: ModelRunner) -> Sequence:
    return make_sequences(request, runner, Guides(runner.tokenizer, runner.info.vocab_size))[0]


class Books(RuleBasedStateMachine):
    """Events in any order: arrivals, steps, ends, lost slots. What the scheduler believes must stay true."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = fake_runner(slots=3, cache_tokens=200)
        self.info: RunnerInfo = self.runner.info
        self.scheduler = Scheduler(self.info)
        self.order: list[Sequence] = []  # by arrival
        self.count = 0

    @rule(shared=st.integers(0, 40), length=st.integers(1, 50), kind=st.integers(1, 3), tokens=st.integers(1, 110))
    def arrive(self, shared: int, length: int, kind: int, tokens: int) -> None:
        prompt = [0] * shared + [kind] * length
        params = SamplingParams(temperature=0, max_tokens=min(tokens, 200 - len(prompt)))
        sequence = one_sequence(Request(str(self.count), prompt, params), self.runner)
        self.count += 1
        self.order.append(sequence)
        self.scheduler.add(sequence)

    @precondition(lambda self: self.scheduler.waiting)
    @rule()
    def admit(self) -> None:
        head = self.scheduler.waiting[0] if self.scheduler.waiting else None
        admission = self.scheduler.admit()
        if admission is None:
            return
        assert admission.sequence is head, "first come, first served"
        assert admission.seat.reused < len(head.tokens), "at least one token is left to compute"
        assert admission.seat.source not in admission.emptied

    @precondition(lambda self: self.scheduler.running)
    @rule(budget=st.integers(1, 200), count=st.integers(1, 30))
    def run(self, budget: int, count: int) -> None:
        for _ in range(count):
            if self.scheduler.running:
                self.step(budget)

    def step(self, budget: int) -> None:
        decoding = [s for s in self.scheduler.running if s.pending == 1]
        oldest = self.scheduler.running[0]
        step = self.scheduler.schedule(budget)
        assert step.chunks, "there is always progress"
        assert sum(chunk.count for chunk in step.chunks) <= self.info.max_batch_tokens
        assert oldest in self.scheduler.running, "the oldest is never preempted"
        chosen = [chunk.sequence for chunk in step.chunks]
        assert len(set(map(id, chosen))) == len(chosen)
        assert [s for s in decoding if s in self.scheduler.running] == chosen[: len(chosen) - len(self.prompts(step))]
        for chunk in step.chunks:
            sequence = chunk.sequence
            assert 1 <= chunk.count <= sequence.pending
            end = sequence.computed + chunk.count
            assert end == len(sequence.tokens) or end % self.info.chunk_tokens == 0, "a prompt is cut on the grid"
            sequence.computed = end
            if not sequence.pending:
                sequence.tokens.append(1)
                if len(sequence.tokens) >= sequence.limit:
                    self.scheduler.remove(sequence)
                    self.order.remove(sequence)

    @staticmethod
    def prompts(step: object) -> list[Sequence]:
        return [chunk.sequence for chunk in step.chunks if chunk.sequence.pending > 1]  # type: ignore[attr-defined]

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.order))
        self.scheduler.remove(sequence)
        self.order.remove(sequence)
        assert self.scheduler.find(sequence.id) == []

    @invariant()
    def every_sequence_is_in_one_place(self) -> None:
        scheduler = self.scheduler
        assert sorted(map(id, [*scheduler.waiting, *scheduler.running])) == sorted(map(id, self.order))
        arrived = {id(sequence): i for i, sequence in enumerate(self.order)}
        assert [arrived[id(s)] for s in scheduler.waiting] == sorted(arrived[id(s)] for s in scheduler.waiting)

    @invariant()
    def every_slot_is_held_once(self) -> None:
        held = [s.slot for s in self.scheduler.running if s.slot is not None]
        assert len(held) == len(self.scheduler.running)
        assert sorted([*held, *self.scheduler._free]) == [0, 1, 2]
        assert all(s.slot is None and s.computed == 0 for s in self.scheduler.waiting)

    @invariant()
    def the_pool_is_never_overdrawn(self) -> None:
        assert self.info.cache_tokens is not None
        assert sum(map(len, self.scheduler._contents().values())) <= self.info.cache_tokens


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


@given(st.integers(0, 60), st.lists(st.integers(0, 20), max_size=8))
def test_shares_are_fair(budget: int, needs: list[int]) -> None:
    shares = fair_shares(budget, needs)
    assert sum(shares) == min(budget, sum(needs))
    for share, need in zip(shares, needs, strict=True):
        assert share <= need
        assert share == need or all(other <= share + 1 for other in shares)


def test_the_first_get_what_cannot_be_divided() -> None:
    assert fair_shares(1, [60, 2]) == [1, 0]
    assert fair_shares(3, [2, 60]) == [2, 1]


def test_a_short_prompt_does_not_wait_for_a_long_one_on_a_slow_device() -> None:
    """A step has one chunk to give: they take turns."""
    runner = fake_runner(slots=3)
    scheduler = Scheduler(runner.info)
    decoding, long, short = (
        one_sequence(Request(name, [1] * length, SamplingParams(max_tokens=5)), runner)
        for name, length in (("decoding", 2), ("long", 480), ("short", 30))
    )
    for sequence in (decoding, long, short):
        scheduler.add(sequence)
        assert scheduler.admit()
    decoding.computed = 1
    order = []
    while short.pending > 1 or long.pending > 1:
        for chunk in scheduler.schedule(1).chunks:
            if chunk.sequence is not decoding:
                order.append(chunk.sequence.id)
                chunk.sequence.computed += chunk.count
    assert order.index("short") <= 1
    assert order.count("long") == 15


@given(TOKENS, TOKENS)
def test_the_common_prefix_is_the_longest(a: list[int], b: list[int]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


@given(TOKENS.filter(bool), st.lists(TOKENS, min_size=4, max_size=4), st.sets(st.integers(0, 3), min_size=1))
def test_a_seat_holds_what_it_promises(prompt: list[int], contents: list[list[int]], free: set[int]) -> None:
    held = dict(enumerate(contents))
    seat = choose_seat(prompt, held, sorted(free), list(held))
    assert seat.slot in free
    assert seat.reused < len(prompt)
    assert held[seat.source][: seat.reused] == prompt[: seat.reused]
    assert choose_seat(prompt, held, sorted(free), []).reused == 0


@given(st.integers(1, 300), st.integers(0, 299), st.sampled_from([1, 16, 64]), st.integers(1, 2))
def test_reuse_leaves_no_chunk_shorter_than_it_would_be_alone(length: int, common: int, grid: int, least: int) -> None:
    common = min(common, length - 1)
    reused = reusable(common, length, grid, least)
    assert common - least < reused <= common
    chunk = min((reused // grid + 1) * grid, length) - reused
    assert chunk >= least or reused % grid == 0


@given(st.floats(1e-5, 1e-2), st.floats(1e-4, 5e-2))
def test_the_budget_settles_at_the_time_that_prompts_take(token: float, decode: float) -> None:
    pace = Pace(0.04)
    assert pace.prefill_budget(1) == int(0.04 / FIRST_GUESS)
    for _ in range(120):
        pace.record(4, 0, decode)
        budget = pace.prefill_budget(16)
        pace.record(4, budget, decode + budget * token)
    assert abs(pace.prefill_budget(1) - 0.04 / token) <= 0.04 / token * 0.05 + 1
    assert pace.prefill_budget(10**6) == 10**6
