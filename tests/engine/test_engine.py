"""Sequences say the same alone and in company, slots and books agree, and cancelling frees a slot at once."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ContextLengthExceeded, EngineFailed, InvalidValue
from server.runners.base import ArrayLogits, Batch, Placement, SlotsLost
from server.runners.fake import FakeOptions, FakeRunner, slot_lengths
from server.types import SamplingParams

from .driving import GREEDY, Driver, alone, fake_runner

PROMPTS = [f"{'A system prompt that many share. ' * (i % 3)}Question {i}: {'why ' * (i % 7)}" for i in range(40)]
SEEDED = SamplingParams(temperature=1.0, top_p=0.9, seed=7, max_tokens=24)


@pytest.mark.parametrize("params", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize(
    "options",
    [{}, {"cache_tokens": 300}, {"can_copy": False}, {"can_truncate": False}, {"slots": 1}],
    ids=["plain", "tiny pool", "no copies", "no truncation", "one slot"],
)
def test_company_changes_nothing(params: SamplingParams, options: dict[str, Any]) -> None:
    driver = Driver(fake_runner(**options))
    for i, prompt in enumerate(PROMPTS):
        driver.submit(str(i), prompt, params)
        if i % 3 == 0:
            driver.engine.step()
    driver.run()
    assert [driver.text[str(i)] for i in range(40)] == [alone(prompt, params) for prompt in PROMPTS]
    assert len(driver.finish) == 40


def test_many_sequences_take_few_forwards() -> None:
    runner = fake_runner(slots=8)
    driver = Driver(runner)
    for i in range(8):
        driver.submit(str(i), f"Prompt {i}", SamplingParams(temperature=0, max_tokens=40, ignore_eos=True))
    driver.run()
    assert sum(usage.completion_tokens for usage in driver.usage.values()) == 320
    assert runner.forwards <= 45


def test_a_repeated_prompt_is_not_computed_again() -> None:
    driver = Driver(fake_runner())
    for name in ("first", "second"):
        driver.submit(name, "The same words, twice over.")
        driver.run()
    assert driver.usage["first"].cached_tokens == 0
    assert driver.usage["second"].cached_tokens == driver.usage["second"].prompt_tokens - 1
    driver.submit("third", "The same words, twice over.", cache_prompt=False)
    driver.run()
    assert driver.usage["third"].cached_tokens == 0
    assert driver.text["first"] == driver.text["second"] == driver.text["third"]


def test_a_system_prompt_is_shared_with_a_running_sequence() -> None:
    driver = Driver(fake_runner())
    shared = "You are a patient assistant who answers in full sentences. "
    driver.submit("first", shared + "One?", SamplingParams(temperature=0, max_tokens=60, ignore_eos=True))
    driver.engine.step()
    driver.submit("second", shared + "Two?")
    driver.run()
    assert driver.usage["second"].cached_tokens >= len(shared)


def test_cancelling_frees_the_slot_for_the_next_step() -> None:
    driver = Driver(fake_runner(slots=1))
    driver.submit("long", "Go on", SamplingParams(temperature=0, max_tokens=400, ignore_eos=True))
    driver.engine.step()
    driver.submit("next", "Hello")
    driver.engine.cancel("long")
    driver.engine.step()
    assert [sequence.id for sequence in driver.engine.scheduler.running] == ["next"]
    driver.engine.cancel("nobody")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=30),
    st.sampled_from([None, 256, 400]),
)
def test_books_and_slots_agree_at_every_step(requests: list[tuple[int, int, int]], cache_tokens: int | None) -> None:
    """Sequences join and leave at any step; each ends once; the pool is never overdrawn; there is always progress."""
    runner = fake_runner(cache_tokens=cache_tokens)
    driver = Driver(runner)
    cancelled = set()
    for i, (length, tokens, action) in enumerate(requests):
        limit = runner.info.context_length - length - 3
        driver.submit(str(i), "x" * length + str(i % 3), SamplingParams(temperature=0, max_tokens=min(tokens, limit)))
        for _ in range(action):
            driver.engine.step()
            check_books(driver, runner)
        if action == 3:
            driver.engine.cancel(str(i))
            cancelled.add(str(i))
    driver.run()
    check_books(driver, runner)
    assert set(driver.finish) >= {str(i) for i in range(len(requests))} - cancelled
    assert not driver.failures


def check_books(driver: Driver, runner: FakeRunner) -> None:
    contents = driver.engine.scheduler._contents()
    assert slot_lengths(runner) == [len(contents[slot]) for slot in range(runner.info.slots)]
    held = [sequence.slot for sequence in driver.engine.scheduler.running]
    assert len(set(held)) == len(held)


class LosesSlots(FakeRunner):
    """A runner that fails on its first forwards, as an engine does that was interrupted."""

    failures = 1

    def forward(self, batch: Batch) -> ArrayLogits:
        if self.failures:
            self.failures -= 1
            slots = [segment.slot for segment in batch]
            for slot in slots:
                self.truncate(slot, 0)
            raise SlotsLost(slots, "interrupted")
        return super().forward(batch)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_lost_slot_is_computed_again_once(failures: int) -> None:
    runner = LosesSlots(FakeOptions(context=512), Placement(threads=1, slots=4))
    runner.failures = failures
    driver = Driver(runner)
    driver.submit("a", "Hello")
    driver.run()
    if failures == 1:
        assert driver.text["a"] == alone("Hello")
    else:
        assert isinstance(driver.failures["a"], EngineFailed)


def test_a_prompt_that_cannot_be_is_refused_with_the_numbers() -> None:
    driver = Driver(fake_runner())
    with pytest.raises(ContextLengthExceeded, match=r"512 tokens.*601 tokens"):
        driver.submit("a", "x" * 600)
    with pytest.raises(ContextLengthExceeded, match="500 more"):
        driver.submit("a", "x" * 20, SamplingParams(max_tokens=500))
    with pytest.raises(InvalidValue, match="no token 9999"):
        driver.submit("a", "x", SamplingParams(logit_bias={9999: 1.0}))


class Broken(FakeRunner):
    """A runner whose logits for one slot are no numbers."""

    def forward(self, batch: Batch) -> ArrayLogits:
        rows = super().forward(batch)
        slots = [segment.slot for segment in batch for _ in segment.wanted]
        whole = rows.host(range(len(slots))).copy()
        whole[[slot == 1 for slot in slots]] = float("nan")
        return ArrayLogits(whole)


def test_logits_that_are_no_numbers_fail_their_own_sequence_alone() -> None:
    driver = Driver(Broken(FakeOptions(context=512), Placement(threads=1, slots=2)))
    for name in ("good", "bad"):
        driver.submit(name, f"Hello {name}", SEEDED)
    driver.run()
    assert driver.finish.keys() == {"good"}
    assert isinstance(driver.failures["bad"], EngineFailed)
