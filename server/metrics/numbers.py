"""What the meter writes into: plain numbers. The event loop is their only writer and reader, so there is no lock."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from .families import Family

# Series begin at 0 where their labels are known before: one that begins at 1 is no increase to Prometheus, and an alert
# on the first death would stay silent.
UNLOADS = ("idle", "budget", "asked", "reload", "died", "closing")
DEATHS = ("killed by SIGKILL", "killed by SIGSEGV", "killed by SIGABRT")


class Distribution:
    """A histogram. Finding the bucket by bisection, and once for several equal values, is what an own one is for."""

    __slots__ = ("_counts", "_edges", "sum")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._edges, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Upper edges, as Prometheus writes them, with how many values lie at or below."""
        names = [*(str(float(edge)) for edge in self._edges), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


class Standing(NamedTuple):
    """How things stand in one engine behind its latest step."""

    running: int
    waiting: int
    kv_used: int
    kv_capacity: int


@dataclass(slots=True)
class ModelNumbers:
    """Of one model. What is measured once may be kept with several sets of edges: `observed` has the distributions by
    what is measured, `kept` by the name of their family."""

    observed: Mapping[str, tuple[Distribution, ...]]
    kept: Mapping[str, Distribution]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    cancelled: int = 0
    evictions: int = 0
    fallbacks: int = 0
    steps: int = 0
    longest: int = 0  # tokens of the longest sequence
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    decoded_tokens: int = 0  # generated ones but the first of each sequence, which `decode_seconds` are about
    loads: Counter[str] = field(default_factory=lambda: Counter(ok=0, failed=0))
    unloads: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(UNLOADS, 0)))
    restarts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(DEATHS, 0)))
    finished: Counter[str] = field(default_factory=lambda: Counter(stop=0, length=0, abort=0, error=0))
    # Two variants of a model, or its older and its newer description, may run at a time.
    engines: dict[Hashable, Standing] = field(default_factory=dict)  # by worker
    loading: int = 0  # requests that wait for a load, at the latest scrape
    encoding: int = 0  # requests of workers that make no steps, likewise

    @classmethod
    def of(cls, *dialects: Mapping[str, Family]) -> "ModelNumbers":
        """With a distribution for each family of the dialects, which are by what they measure."""
        kept = {family.name: Distribution(family.edges) for dialect in dialects for family in dialect.values()}
        measured = {name for dialect in dialects for name in dialect}
        observed = {
            name: tuple(kept[dialect[name].name] for dialect in dialects if name in dialect) for name in measured
        }
        return cls(observed, kept)

    @property
    def running(self) -> int:
        return self.encoding + sum(engine.running for engine in self.engines.values())

    @property
    def waiting(self) -> int:
        return self.loading + sum(engine.waiting for engine in self.engines.values())

    @property
    def kv_ratio(self) -> float:
        capacity = sum(engine.kv_capacity for engine in self.engines.values())
        return sum(engine.kv_used for engine in self.engines.values()) / capacity if capacity else 0.0

    def observe(self, name: str, value: float, times: int = 1) -> None:
        for distribution in self.observed[name]:
            distribution.add(value, times)
