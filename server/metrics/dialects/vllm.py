"""vLLM's names, labels and buckets, as its version 1 engine has them. Labels: model_name, engine."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric

from ..families import Family
from ..writing import Models, Read, counter, gauge, histogram, labelled

LABELS = ("model_name", "engine")
ENGINE = "0"  # theirs are numbered, and we have one a model

_FIRST = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_BETWEEN = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
_WHOLE = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_TOKENS = tuple(float(step * 10**power) for power in range(6) for step in (1, 2, 5))
_STEP = (1.0, *(float(2**power) for power in range(3, 15)))


def _family(name: str, help_text: str, edges: tuple[float, ...] = (), labels: tuple[str, ...] = LABELS) -> Family:
    return Family(f"vllm:{name}", help_text, edges, labels)


HISTOGRAMS: Mapping[str, Family] = {
    "first_token": _family("time_to_first_token_seconds", "Time to first token.", _FIRST),
    "inter_token": _family("inter_token_latency_seconds", "Inter-token latency.", _BETWEEN),
    "per_token": _family("request_time_per_output_token_seconds", "Mean time per output token.", _BETWEEN),
    "request": _family("e2e_request_latency_seconds", "End-to-end latency of a request.", _WHOLE),
    "queue": _family("request_queue_time_seconds", "Time a request waited.", _WHOLE),
    "inference": _family("request_inference_time_seconds", "Time a request ran.", _WHOLE),
    "prefill": _family("request_prefill_time_seconds", "Time of the prompt.", _WHOLE),
    "decode": _family("request_decode_time_seconds", "Time of the tokens after the first.", _WHOLE),
    "prompt_size": _family("request_prompt_tokens", "Prompt tokens of a request.", _TOKENS),
    "answer_size": _family("request_generation_tokens", "Generated tokens of a request.", _TOKENS),
    "step_tokens": _family("iteration_tokens_total", "Tokens of a step of the engine.", _STEP),
}
_COUNTERS: tuple[tuple[Family, Read], ...] = (
    (_family("prompt_tokens", "Prompt tokens."), lambda numbers: numbers.prompt_tokens),
    (_family("prompt_tokens_cached", "Prompt tokens from the cache."), lambda numbers: numbers.cached_tokens),
    (_family("prefix_cache_queries", "Prompt tokens looked for in the cache."), lambda numbers: numbers.prompt_tokens),
    (_family("prefix_cache_hits", "Prompt tokens found in the cache."), lambda numbers: numbers.cached_tokens),
    (_family("generation_tokens", "Generated tokens."), lambda numbers: numbers.generated_tokens),
)
_GAUGES: tuple[tuple[Family, Read], ...] = (
    (_family("num_requests_running", "Requests that run."), lambda numbers: numbers.running),
    (_family("num_requests_waiting", "Requests that wait."), lambda numbers: numbers.waiting),
    (_family("kv_cache_usage_perc", "KV cache in use, 0 to 1."), lambda numbers: numbers.kv_ratio),
)
_SUCCESS = _family("request_success", "Sequences that ended, by why.", labels=(*LABELS, "finished_reason"))


def write(models: Models) -> Iterator[Metric]:
    """Everything, as families of the client library."""
    yield from (gauge(family, models, read, ENGINE) for family, read in _GAUGES)
    yield from (counter(family, models, read, ENGINE) for family, read in _COUNTERS)
    yield labelled(_SUCCESS, models, lambda numbers: numbers.finished, ENGINE)
    yield from (histogram(family, models, ENGINE) for family in HISTOGRAMS.values())
