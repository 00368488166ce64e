"""How fast a worker reads a prompt and writes an answer: the tests of llama-bench, through our own worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from ..errors import InvalidValue
from ..runners.base import RunnerInfo
from ..types import Request, SamplingParams, Usage
from ..worker.client import Worker
from ..worker.messages import Load

ROOM = 64  # tokens of context beyond the longest test


@dataclass(frozen=True, slots=True)
class Trial:
    """A prompt of so many tokens, or as many tokens that are written after a prompt of one."""

    kind: Literal["prompt", "generate"]
    tokens: int

    @property
    def name(self) -> str:
        return f"{'pp' if self.kind == 'prompt' else 'tg'}{self.tokens}"


@dataclass(frozen=True, slots=True)
class Result:
    """Tokens per second of each repetition of a trial."""

    trial: Trial
    speeds: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.speeds)

    @property
    def deviation(self) -> float:
        """Of the sample; 0 where there is one repetition only."""
        return stdev(self.speeds) if len(self.speeds) > 1 else 0.0


def context_for(trials: Sequence[Trial]) -> int:
    """Tokens that a sequence needs for the longest trial."""
    return max(trial.tokens for trial in trials) + ROOM


async def measured(
    load: Load, name: str, trials: Sequence[Trial], repeat: int, tell: Callable[[Trial, int], None]
) -> list[Result]:
    """Load the model in a worker of its own and time each trial, after one that warms up and does not count.

    Raises InvalidValue for a model that writes no text or takes fewer tokens, LoadFailed, EngineFailed and WorkerDied.
    """
    worker = await Worker.start(name)
    try:
        info = (await worker.load(load)).info
        if not isinstance(info, RunnerInfo):
            raise InvalidValue(f"{name} makes embeddings; what is measured here is how fast a model writes text.")
        if context_for(trials) - ROOM >= info.context_length:
            longest = info.context_length - 1
            raise InvalidValue(f"{name} takes {info.context_length} tokens; measure at most {longest}.")
        found = []
        for trial in trials:
            speeds = []
            for number in range(repeat + 1):
                tell(trial, number)
                speeds.append(_speed(trial, await _usage(worker, trial, number, info.vocab_size)))
            found.append(Result(trial, tuple(speeds[1:])))
        return found
    finally:
        worker.kill()
        await worker.close()


async def _usage(worker: Worker, trial: Trial, number: int, vocabulary: int) -> Usage:
    """What the engine itself measured. The ids are of a text without meaning; the kernels do not care which ones."""
    length, written = (trial.tokens, 1) if trial.kind == "prompt" else (1, trial.tokens + 1)
    prompt = [(number + 7 * place) % (vocabulary - 1) for place in range(length)]
    params = SamplingParams(temperature=0.0, max_tokens=written, ignore_eos=True)
    request = Request(id=f"{trial.name}-{number}", prompt=prompt, params=params, cache_prompt=False)
    usage = None
    async for delta in worker.generate(request):
        usage = delta.usage or usage
    assert usage is not None, "the last delta has it"
    return usage


def _speed(trial: Trial, usage: Usage) -> float:
    """The first token belongs to the prompt, so of those that are timed there is one less."""
    if trial.kind == "prompt":
        return usage.prompt_tokens / usage.prompt_seconds
    return (usage.completion_tokens - 1) / usage.decode_seconds
