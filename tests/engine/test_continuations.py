"""Several continuations of one prompt: the prompt is computed once, each has its own text, and one seed repeats all."""

from typing import Any

import pytest

from server.errors import EngineFailed
from server.runners.base import ArrayLogits, Batch, Placement, SlotsLost
from server.runners.fake import FakeOptions, FakeRunner
from server.types import Grammar, Request, SamplingParams

from .driving import Driver, alone, fake_runner
from .recording import Recorder

PROMPT = "One beginning and many ends. " * 8
SEEDED = SamplingParams(temperature=1.0, seed=11, max_tokens=16, ignore_eos=True)
LONG = SamplingParams(temperature=1.0, seed=11, max_tokens=100, ignore_eos=True)
NAMES = ["a", "a/1", "a/2", "a/3"]


def many(n: int = 4, params: SamplingParams = SEEDED, **options: Any) -> Recorder:
    driver = Recorder(fake_runner(**options))
    driver.send(Request("a", PROMPT, params, n=n))
    driver.run()
    return driver


def test_the_prompt_is_computed_once() -> None:
    one, four = many(1), many(4)
    # A copied prefix leaves the last token of the prompt to compute: its logits are what each draws from.
    assert four.prefilled <= one.prefilled + 3
    assert four.usage["a"].cached_tokens == 0
    assert all(four.usage[name].cached_tokens == four.usage["a"].prompt_tokens - 1 for name in NAMES[1:])


def test_without_a_cache_for_others_it_is_still_computed_once() -> None:
    driver = Recorder(fake_runner())
    driver.send(Request("a", PROMPT, SEEDED, n=4, cache_prompt=False))
    driver.run()
    assert driver.prefilled <= driver.usage["a"].prompt_tokens + 3


def test_one_seed_gives_different_texts_and_repeats_them() -> None:
    first, again = many(), many()
    assert sorted(first.text) == NAMES
    assert len(set(first.text.values())) == 4
    assert first.text == again.text
    assert first.text["a"] == alone(PROMPT, SEEDED)


@pytest.mark.parametrize(
    "options",
    [{"cache_tokens": 560}, {"slots": 1}, {"slots": 2}, {"can_copy": False}, {"can_truncate": False}],
    ids=["tiny pool", "one slot", "two slots", "no copies", "no truncation"],
)
def test_circumstances_change_no_text_and_no_score(options: dict[str, Any]) -> None:
    found = []
    for circumstances in (options, {"slots": 8}):
        driver = Recorder(fake_runner(**circumstances))
        for name in ("a", "b"):
            driver.send(Request(name, PROMPT + name, LONG, n=4, logprobs=1, prompt_logprobs=1))
        driver.run()
        scores = {name: driver.scores(name) for name in driver.deltas}
        found.append((driver.text, scores, [driver.prompt_scores(name) for name in ("a", "b")]))
        assert all(len(each) == 100 for each in scores.values())
    assert found[0] == found[1]


def test_a_tiny_pool_preempts() -> None:
    """What the test above is about: sequences leave their slots and compute their tokens again."""
    assert many(4, LONG, cache_tokens=560).prefilled > many(4, LONG).prefilled


def test_more_continuations_than_slots_all_end() -> None:
    driver = many(20, slots=3)
    assert len(driver.finish) == 20
    assert set(driver.finish.values()) == {"length"}
    assert len(driver.engine.scheduler._free) == 3


def test_deltas_say_which_continuation_they_are_of() -> None:
    driver = many()
    for index, name in enumerate(NAMES):
        assert {delta.index for delta in driver.deltas[name]} == {index}


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_cancelling_forgets_all_of_them(steps: int) -> None:
    driver = Recorder(fake_runner())
    driver.send(Request("a", PROMPT, SEEDED, n=6))
    for _ in range(steps):
        driver.engine.step()
    driver.engine.cancel("a")
    assert driver.engine.scheduler.running == []
    assert not driver.engine.scheduler.waiting
    assert not driver.engine.step()
    driver.submit("b", "Next")
    driver.run()
    assert "b" in driver.finish


class Failing(FakeRunner):
    """Loses the slot of one token's sequence twice."""

    left = 2

    def forward(self, batch: Batch) -> ArrayLogits:
        long = [segment.slot for segment in batch if segment.start == 0]
        if self.left and long:
            self.left -= 1
            for segment in batch:
                self.truncate(segment.slot, 0) if segment.slot in long else None
            raise SlotsLost(long, "the model is bent")
        return super().forward(batch)


def test_a_leader_that_fails_leaves_nobody_waiting() -> None:
    driver = Recorder(Failing(FakeOptions(context=512), Placement(threads=1, slots=4)))
    driver.send(Request("a", PROMPT, SEEDED, n=3))
    driver.run()
    assert isinstance(driver.failures["a"], EngineFailed)
    assert sorted(driver.finish) == ["a/1", "a/2"]
    assert driver.text["a/1"] == many().text["a/1"]


def test_nobody_is_shut_out_by_a_request_of_many() -> None:
    driver = Recorder(fake_runner(slots=2))
    driver.send(Request("a", PROMPT, SEEDED, n=8))
    driver.submit("b", "Me too")
    driver.run()
    assert len(driver.finish) == 9


def test_each_is_held_to_the_grammar_by_itself() -> None:
    driver = Recorder(fake_runner())
    grammar = Grammar("regex", "(red|green|blue)(, (red|green|blue)){2}")
    driver.send(Request("a", PROMPT, SamplingParams(seed=1, max_tokens=64), n=4, grammar=grammar))
    driver.run()
    assert all(len(text.split(", ")) == 3 for text in driver.text.values())
    assert set(driver.finish.values()) == {"stop"}


def test_scoring_a_prompt_is_the_first_ones_work() -> None:
    driver = Recorder(fake_runner())
    driver.send(Request("a", PROMPT, SEEDED, n=4, logprobs=1, prompt_logprobs=1))
    driver.run()
    assert len(driver.prompt_scores("a")) == driver.usage["a"].prompt_tokens
    assert all(not driver.prompt_scores(name) for name in NAMES[1:])
    assert all(len(driver.scores(name)) == 16 for name in NAMES)
    order = list(driver.deltas)
    assert order[0] == "a"


def test_no_tokens_for_any_of_them() -> None:
    driver = many(4, SamplingParams(max_tokens=0))
    assert driver.text == dict.fromkeys(NAMES, "")
    assert set(driver.finish.values()) == {"length"}


def test_many_continuations_do_not_keep_others_out() -> None:
    """A request for 128 with 4 slots: newcomers get the next slots that are free, each after one continuation."""
    driver = Driver(fake_runner())
    driver.send(Request("many", "Tell me a story.", SamplingParams(seed=1, max_tokens=30, ignore_eos=True), n=128))
    for _ in range(5):
        driver.engine.step()
    newcomers = {"one", "two", "three"}
    for name in newcomers:
        driver.submit(name, "Hello")
    scheduler = driver.engine.scheduler
    while not driver.finish:
        assert {s.request.id for s in scheduler.running} == {"many"}
        driver.engine.step()
    free = 4 - len(scheduler.running)
    driver.engine.step()
    seated = {s.id for s in scheduler.running} & newcomers
    assert len(seated) == min(free, 3)
    while not newcomers <= {*driver.finish, *(s.id for s in scheduler.running)}:
        driver.engine.step()
    assert len([name for name in driver.finish if name.startswith("many")]) <= 4
    driver.run()
    assert len(driver.finish) == 131


def test_a_scored_prompt_is_computed_in_single_chunks() -> None:
    """Logits of a position are as wide as the vocabulary."""
    driver = Driver(fake_runner())
    prompt = "x" * 200
    driver.send(Request("scored", prompt, SamplingParams(max_tokens=1), prompt_logprobs=0))
    sizes: list[int | None] = []
    while driver.engine.step():
        sizes.append(driver.engine.scheduler.running[0].computed if driver.engine.scheduler.running else None)
    assert sizes[:3] == [32, 64, 96]
