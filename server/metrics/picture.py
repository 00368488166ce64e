"""How things stand at the moment of a scrape. Whoever owns the pool draws it; nothing is loaded or woken for it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that has a worker, or gets one. Sizes are bytes; None where they are not known.

    `ready`: it answers; of one that is asleep only the KV memory was given back. `encodes`: it is ready, and makes
    vectors.
    """

    model: str
    variant: str
    version: str
    engine: str
    quantization: str
    device: str
    loading: bool
    ready: bool
    users: int
    encodes: bool
    rss: int | None
    kv: int | None
    weights: int | None
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    models: list[LoadedModel] = field(default_factory=list)
    server_rss: int = 0
    server_cpu_seconds: float = 0.0
    budget: int | None = None
