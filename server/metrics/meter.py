"""The only writer of metrics. Every label is a word of ours: a model of models.yaml, a route, a status, a code."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field

from ..errors import CupolaError, Unavailable
from ..types import Usage
from ..worker.messages import StepDone
from .dialects import vllm
from .families import HISTOGRAMS, REQUEST_SECONDS, UNKNOWN
from .numbers import Distribution, ModelNumbers, Standing
from .picture import LoadedModel

CANCELLED = 499  # what proxies log for a client that closed its request
REFUSING = frozenset({429, 503})


@dataclass(slots=True)
class Ended:
    """A request that has ended. `model` is empty where none was asked for; `error` is an error's code."""

    route: str
    model: str
    status: int
    seconds: float
    error: str | None = None


@dataclass(slots=True)
class Requests:
    """Of all requests, by their labels."""

    count: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seconds: dict[tuple[str, str], Distribution] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_codes(Unavailable), 0)))


def _codes(kind: type[CupolaError]) -> list[str]:
    """Of an error and of its kinds: their series begin at 0."""
    return [kind.code, *(code for child in kind.__subclasses__() for code in _codes(child))]


class Meter:
    """Counts and measures. Its methods are for the event loop only.

    `known` says whether a name is a model of models.yaml. A step costs 1.5 microseconds, and so does a delta of an
    answer (on an AVX-512 machine; tests/metrics/test_cost.py bounds both): 0.2 % of a core at 1,000 tokens a second.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._models: dict[str, ModelNumbers] = {}
        self.requests = Requests()

    @property
    def models(self) -> Mapping[str, ModelNumbers]:
        """Of each model that was used or loaded."""
        return self._models

    def of(self, model: str) -> ModelNumbers:
        """The numbers of a model; of all that do not exist together."""
        found = self._models.get(model)
        if found is None:
            name = self.label(model)
            found = self._models.get(name)
            if found is None:
                found = self._models[name] = ModelNumbers.of(HISTOGRAMS, vllm.HISTOGRAMS)
        return found

    def label(self, model: str) -> str:
        """The model's name where it is one, or none at all; `unknown` for what a client made up."""
        return model if not model or model in self._models or self._known(model) else UNKNOWN

    # What a request brings, in its order.

    def first_token(self, model: str, seconds: float) -> None:
        """The first token of a request, `seconds` after its arrival."""
        self.of(model).observe("first_token", seconds)

    def next_tokens(self, model: str, seconds: float, tokens: int) -> None:
        """`tokens` of a sequence, `seconds` after those before them."""
        self.of(model).observe("inter_token", seconds / tokens, tokens)

    def generated(self, model: str, tokens: int) -> None:
        self.of(model).generated_tokens += tokens

    def sequence(self, model: str, finish: str, usage: Usage, *, first: bool) -> None:
        """A sequence has ended. Continuations of one prompt share it: `first` says to count it."""
        numbers = self.of(model)
        numbers.finished[finish] += 1
        numbers.longest = max(numbers.longest, usage.total_tokens)
        numbers.observe("queue", usage.queue_seconds)
        numbers.observe("prefill", usage.prompt_seconds)
        numbers.observe("decode", usage.decode_seconds)
        numbers.observe("inference", usage.prompt_seconds + usage.decode_seconds)
        numbers.observe("answer_size", usage.completion_tokens)
        if usage.completion_tokens > 1:
            numbers.observe("per_token", usage.decode_seconds / (usage.completion_tokens - 1))
            numbers.decoded_tokens += usage.completion_tokens - 1
        numbers.decode_seconds += usage.decode_seconds
        if first:
            numbers.prefill_seconds += usage.prompt_seconds
            self.prompt(model, usage.prompt_tokens, usage.cached_tokens)

    def prompt(self, model: str, tokens: int, cached: int = 0) -> None:
        """A prompt, or a text that became a vector."""
        numbers = self.of(model)
        numbers.prompt_tokens += tokens
        numbers.cached_tokens += cached
        numbers.observe("prompt_size", tokens)

    def request(self, ended: Ended) -> None:
        """A request has ended, well or not."""
        model, requests = self.label(ended.model), self.requests
        requests.count[ended.route, model, str(ended.status)] += 1
        kept = requests.seconds.get((ended.route, model))
        if kept is None:
            kept = requests.seconds[ended.route, model] = Distribution(REQUEST_SECONDS.edges)
        kept.add(ended.seconds)
        if ended.status in REFUSING and ended.error is not None:
            requests.rejected[ended.error] += 1
        if model in {"", UNKNOWN}:
            return  # nothing more is told of what does not exist
        numbers = self.of(model)
        numbers.observe("request", ended.seconds)
        if ended.status == CANCELLED:
            numbers.cancelled += 1
            numbers.finished["abort"] += 1
        elif ended.error is not None and not 400 <= ended.status < 500:
            numbers.finished["error"] += 1

    # What the pool tells.

    def step(self, model: str, worker: Hashable, step: StepDone) -> None:
        """An engine has made a step, or says how things stand. Its worker is told from others of the same model."""
        numbers = self.of(model)
        numbers.engines[worker] = Standing(step.running, step.waiting, step.kv_used, step.kv_capacity)
        if step.sequences:
            numbers.steps += 1
            numbers.observe("batch_size", step.sequences)
            numbers.observe("forward", step.seconds)
            numbers.observe("step_tokens", step.decode_tokens + step.prefill_tokens)

    def look(self, present: Collection[LoadedModel]) -> None:
        """Who uses models that make no steps to say so: those that are loading, and those that make vectors."""
        for numbers in self._models.values():
            numbers.loading = numbers.encoding = 0
        for one in present:
            self.of(one.model).loading += one.users * one.loading
            self.of(one.model).encoding += one.users * one.encodes

    def loaded(self, model: str, seconds: float) -> None:
        numbers = self.of(model)
        numbers.loads["ok"] += 1
        numbers.observe("load", seconds)

    def load_failed(self, model: str) -> None:
        self.of(model).loads["failed"] += 1

    def unloaded(self, model: str, worker: Hashable, reason: str) -> None:
        """Its process is gone. Reasons: idle, budget, asked, reload, died, closing."""
        numbers = self.of(model)
        numbers.unloads[reason] += 1
        numbers.engines.pop(worker, None)

    def evicted(self, model: str) -> None:
        self.of(model).evictions += 1

    def restarted(self, model: str, cause: str) -> None:
        """A worker has died, and the next request has another; the cause is how it ended: `killed by SIGKILL`, ..."""
        self.of(model).restarts[cause] += 1

    def fell_back(self, model: str) -> None:
        self.of(model).fallbacks += 1
