"""What is exported under our own name: every family of series, its labels, and the edges of the histograms."""

from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "unknown"  # a model that models.yaml does not have: what a client writes must never become a series
OTHER = "other"  # a path that is no route


def geometric(first: float, last: float, per_decade: int) -> tuple[float, ...]:
    """Edges from `first` up to `last`, `per_decade` of them for each factor of ten, of three digits each."""
    edges: list[float] = []
    while not edges or edges[-1] < last:
        edges.append(float(f"{first * 10 ** (len(edges) / per_decade):.3g}"))
    return tuple(edge for edge in edges if edge <= last)


# A small model's token takes a few milliseconds, a load minutes. Six edges a decade lie 1.47 times apart.
SECONDS = geometric(0.001, 1000, per_decade=6)
SEQUENCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of series. `edges` are those of a histogram."""

    name: str
    help: str
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ("model",)


# Of each request, by route.
REQUESTS = Family("cupola_requests", "Requests that have ended.", labels=("route", "model", "status"))
REQUEST_SECONDS = Family(
    "cupola_request_seconds",
    "From the arrival of a request to the end of its response.",
    SECONDS,
    ("route", "model"),
)
REJECTED = Family("cupola_rejected", "Requests answered with 429 or 503, by error code.", labels=("reason",))

# Of each model: what is measured again and again, by what it is called in `numbers.ModelNumbers`.
HISTOGRAMS: Mapping[str, Family] = {
    "first_token": Family(
        "cupola_time_to_first_token_seconds", "From the arrival of a request to its first token.", SECONDS
    ),
    "inter_token": Family("cupola_inter_token_seconds", "Between two tokens of a stream.", SECONDS),
    "queue": Family("cupola_queue_seconds", "From a sequence's arrival in the engine to its slot.", SECONDS),
    "prefill": Family("cupola_prefill_seconds", "From a sequence's slot to its first token.", SECONDS),
    "decode": Family("cupola_decode_seconds", "From a sequence's first token to its last one.", SECONDS),
    "batch_size": Family("cupola_batch_size", "Sequences that shared a step of the engine.", SEQUENCES),
    "forward": Family("cupola_forward_seconds", "One forward pass of the engine.", SECONDS),
    "load": Family("cupola_load_seconds", "A load of the model that succeeded.", SECONDS),
}

# Of each model: what only grows, by the field of `numbers.ModelNumbers`.
COUNTERS: Mapping[str, Family] = {
    "prompt_tokens": Family("cupola_prompt_tokens", "Tokens of prompts, reused ones too."),
    "cached_tokens": Family("cupola_cached_tokens", "Tokens of prompts whose KV entries were reused."),
    "generated_tokens": Family("cupola_generated_tokens", "Tokens that were generated."),
    "cancelled": Family("cupola_cancelled", "Requests that their client gave up."),
    "evictions": Family("cupola_evictions", "Unloads to make room for another model."),
    "fallbacks": Family("cupola_variant_fallbacks", "Variants that did not load, so that the next one was tried."),
}

# Of each model: what only grows, by a second label, each of whose values is a word of ours.
LABELLED: Mapping[str, Family] = {
    "unloads": Family("cupola_unloads", "Unloads, by reason.", labels=("model", "reason")),
    "loads": Family("cupola_loads", "Loads, by how they ended.", labels=("model", "result")),
    "restarts": Family(
        "cupola_worker_restarts", "Workers that ended by themselves, by cause.", labels=("model", "cause")
    ),
}

# What is read at the moment of a scrape.
WAITING = Family("cupola_requests_waiting", "Requests that wait for the model or for a slot.")
RUNNING = Family("cupola_requests_running", "Sequences that have a slot.")
KV_USED = Family("cupola_kv_used_ratio", "KV entries of running sequences, of those there is room for.")
MEMORY = Family("cupola_memory_bytes", "Memory of a loaded model.", labels=("model", "kind"))
BUDGET = Family("cupola_memory_budget_bytes", "Memory that all models may take.", labels=())
SERVER_MEMORY = Family("cupola_server_memory_bytes", "Resident memory of the server process.", labels=())
CPU = Family("cupola_cpu_seconds", "Processor time of the server and of each model's worker.", labels=("process",))
INFO = Family(
    "cupola_model_info",
    "A loaded model: 1.",
    labels=("model", "version", "variant", "engine", "quantization", "device"),
)
LOADED = Family("cupola_model_loaded", "Whether the model is loaded.")
BUILD = Family("cupola_build_info", "This build: 1.", labels=("version",))
ENERGY = Family("cupola_energy_joules", "Energy that a part of the device took.", labels=("domain",))
MODEL_ENERGY = Family("cupola_model_energy_joules", "Energy by the workers' share of the busy processor time.")
TOKEN_ENERGY = Family("cupola_energy_joules_per_token", "Energy of the model over its generated tokens.")
