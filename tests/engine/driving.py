"""The real engine on the real fake runner, driven step by step."""

from dataclasses import dataclass, field
from typing import Any

from server.engine.arrival import make_sequences
from server.engine.engine import Engine, StepResult
from server.engine.guidance import Guides
from server.errors import CupolaError
from server.runners.base import ModelRunner, Placement
from server.runners.fake import FakeOptions, FakeRunner
from server.types import FinishReason, Request, SamplingParams, Usage

GREEDY = SamplingParams(temperature=0, max_tokens=24)


def fake_runner(*, slots: int = 4, cache_tokens: int | None = None, **options: Any) -> FakeRunner:
    placement = Placement(threads=1, slots=slots, cache_tokens=cache_tokens)
    return FakeRunner(FakeOptions(context=512, **options), placement)


@dataclass
class Driver:
    """Submits requests, steps, and keeps what comes out."""

    runner: ModelRunner
    text: dict[str, str] = field(default_factory=dict)
    finish: dict[str, FinishReason] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    failures: dict[str, CupolaError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = Engine(self.runner, self._take, prefill_seconds=0.04)
        self.guides = Guides(self.runner.tokenizer, self.runner.info.vocab_size)

    def submit(self, name: str, prompt: str, params: SamplingParams = GREEDY, *, cache_prompt: bool = True) -> None:
        self.send(Request(name, prompt, params, cache_prompt=cache_prompt))

    def send(self, request: Request) -> None:
        for sequence in make_sequences(request, self.runner, self.guides):
            self.engine.add(sequence)

    def run(self, limit: int = 10_000) -> None:
        """Step until there is nothing to do."""
        for _ in range(limit):
            if not self.engine.step():
                return
        raise AssertionError("the engine does not come to an end")

    def _take(self, result: StepResult) -> None:
        for name, delta in result.deltas.items():
            assert name not in self.finish, "a delta after the last one"
            self.text[name] = self.text.get(name, "") + delta.text
            if delta.finish and delta.usage:
                self.finish[name], self.usage[name] = delta.finish, delta.usage
        self.failures |= result.failures


def alone(prompt: str, params: SamplingParams = GREEDY) -> str:
    """What a request says with the engine to itself."""
    driver = Driver(fake_runner())
    driver.submit("only", prompt, params)
    driver.run()
    return driver.text["only"]
