"""Batching on the real engine: few forwards, and the text of a sequence alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.runners import load_runner
from server.runners.base import Batch, Logits, ModelRunner, Placement, Segment
from server.types import SamplingParams

from .driving import Driver

pytestmark = pytest.mark.real

NEAR_TIE = 0.5  # logits; llama.cpp rounds activations to 8 bits, which moves a logit by up to about that
TOPICS = (
    "France rain cats gold bread Mars jazz chess rivers glass bees snow tea iron maps silk owls salt wind clocks ships"
    " paper honey stone light wolves trains apples music deserts volcanoes mirrors whales coffee bridges forests"
    " numbers dreams kites lamps"
).split()
FORMS = ("Tell me a fact about {}.", "Write a poem about {}.", "Explain {} to a child.", "List three things about {}.")
PROMPTS = [
    f"<|im_start|>user\n{FORMS[i % 4].format(topic)}<|im_end|>\n<|im_start|>assistant\n"
    for i, topic in enumerate(TOPICS)
]
PARAMS = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)


class Counting:
    """A runner that counts its forwards."""

    def __init__(self, inner: ModelRunner) -> None:
        self._inner = inner
        self.forwards = 0
        self.info, self.tokenizer = inner.info, inner.tokenizer
        self.copy_prefix, self.truncate, self.close = inner.copy_prefix, inner.truncate, inner.close
        self.load_adapter = inner.load_adapter
        self.release_cache, self.set_spin = inner.release_cache, inner.set_spin

    def forward(self, batch: Batch) -> Logits:
        self.forwards += 1
        return self._inner.forward(batch)


@pytest.fixture(scope="module")
def runner(real_model: Path) -> Iterator[Counting]:
    loaded = load_runner("llama", real_model, Placement(threads=2, slots=8, context=1024), lambda _: None)
    yield Counting(loaded)
    loaded.close()


def test_company_changes_text_at_near_ties_only(runner: Counting) -> None:
    alone = []
    for prompt in PROMPTS:
        driver = Driver(runner)
        driver.submit("only", prompt, PARAMS, cache_prompt=False)
        driver.run()
        alone.append(driver.text["only"])
        runner.truncate(0, 0)
    company = Driver(runner)
    runner.forwards = 0
    for i, prompt in enumerate(PROMPTS):
        company.submit(str(i), prompt, PARAMS, cache_prompt=False)
        if i % 3 == 0:
            company.engine.step()  # so that sequences join at different times
    company.run()
    assert runner.forwards < 40 * 24 / 5, "960 tokens in fewer than 192 forwards"
    together = [company.text[str(i)] for i in range(len(PROMPTS))]
    different = [i for i in range(len(PROMPTS)) if alone[i] != together[i]]
    print(f"equal: {len(PROMPTS) - len(different)} of {len(PROMPTS)}")  # noqa: T201
    for i in different:
        assert gap_at_the_difference(runner, PROMPTS[i], alone[i], together[i]) < NEAR_TIE
    assert len(different) <= 2


def gap_at_the_difference(runner: Counting, prompt: str, one: str, other: str) -> float:
    """The distance of the two best logits where two continuations part."""
    encode = runner.tokenizer.encode
    tokens, rival = (encode(prompt + text, special=True) for text in (one, other))
    at = next(n for n, (a, b) in enumerate(zip(tokens, rival, strict=False)) if a != b)
    for slot in range(runner.info.slots):
        runner.truncate(slot, 0)
    row = runner.forward([Segment(0, tokens[:at], 0, range(at - 1, at))]).host([0])[0]
    runner.truncate(0, 0)
    return float(np.diff(np.sort(row)[-2:])[0])
