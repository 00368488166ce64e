"""llama-server's names, with a label `model`, which its own do not have.

Two of its gauges are averages since the last scrape, so that two scrapers take them from one another. Here they are
averages of the last minute or so, whoever asks.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric

from ..families import Family
from ..numbers import ModelNumbers
from ..writing import Models, Read, counter, gauge

_COUNTERS: tuple[tuple[Family, Read], ...] = (
    (
        Family("llamacpp:prompt_tokens", "Prompt tokens processed, without cached ones."),
        lambda numbers: numbers.prompt_tokens - numbers.cached_tokens,
    ),
    (
        Family("llamacpp:prompt_tokens_cached", "Prompt tokens reused from the cache."),
        lambda numbers: numbers.cached_tokens,
    ),
    (Family("llamacpp:prompt_seconds", "Time in prompts."), lambda numbers: numbers.prefill_seconds),
    (Family("llamacpp:tokens_predicted", "Generated tokens."), lambda numbers: numbers.generated_tokens),
    (Family("llamacpp:tokens_predicted_seconds", "Time generating."), lambda numbers: numbers.decode_seconds),
    (Family("llamacpp:n_decode", "Forward passes of the engine."), lambda numbers: numbers.steps),
)
_GAUGES: tuple[tuple[Family, Read], ...] = (
    (Family("llamacpp:n_tokens_max", "Tokens of the longest sequence."), lambda numbers: numbers.longest),
    (Family("llamacpp:requests_processing", "Requests that run."), lambda numbers: numbers.running),
    (Family("llamacpp:requests_deferred", "Requests that wait."), lambda numbers: numbers.waiting),
    (
        Family("llamacpp:n_busy_slots_per_decode", "Mean of the sequences that shared a pass."),
        lambda numbers: numbers.kept["cupola_batch_size"].sum / numbers.steps if numbers.steps else 0.0,
    ),
)
_PROMPT_PACE = Family("llamacpp:prompt_tokens_seconds", "Prompt tokens a second, about the last minute's.")
_PACE = Family("llamacpp:predicted_tokens_seconds", "Generated tokens a second, about the last minute's.")


class Pace:
    """Tokens a second over the last minute or so, from what scrapes find. A scrape adds a look, and takes none away."""

    BETWEEN, MOST = 10.0, 7  # seconds between two looks that are kept, and how many are

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float, float]] = deque([(-self.BETWEEN, 0.0, 0.0)], maxlen=self.MOST)

    def read(self, tokens: float, seconds: float, now: float) -> float:
        """Tokens of the last looks over the seconds in which they were computed; 0 where nothing was."""
        _, past_tokens, past_seconds = self._looks[0]
        if now - self._looks[-1][0] >= self.BETWEEN:
            self._looks.append((now, tokens, seconds))
        spent = seconds - past_seconds
        return (tokens - past_tokens) / spent if spent > 0 else 0.0


class LlamaCpp:
    """Writes what is counted under these names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paces: dict[str, tuple[Pace, Pace]] = {}

    def write(self, models: Models) -> Iterator[Metric]:
        """Everything, as families of the client library."""
        yield from (counter(family, models, read) for family, read in _COUNTERS)
        yield from (gauge(family, models, read) for family, read in _GAUGES)
        paces = {model: self._pace(model, numbers) for model, numbers in models.items()}
        by_numbers = {id(numbers): paces[model] for model, numbers in models.items()}
        yield gauge(_PROMPT_PACE, models, lambda numbers: by_numbers[id(numbers)][0])
        yield gauge(_PACE, models, lambda numbers: by_numbers[id(numbers)][1])

    def _pace(self, model: str, numbers: ModelNumbers) -> tuple[float, float]:
        prompts, answers = self._paces.setdefault(model, (Pace(), Pace()))
        now, computed = self._clock(), numbers.prompt_tokens - numbers.cached_tokens
        return (
            prompts.read(computed, numbers.prefill_seconds, now),
            answers.read(numbers.decoded_tokens, numbers.decode_seconds, now),
        )
