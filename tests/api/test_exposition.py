"""GET /metrics of a real server says what its clients have counted."""

import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..metrics.scraping import Scrape, scrape
from ..serving import RunningServer, add_fake_model, pull, running_server

NAMES = """cupola_requests_total cupola_request_seconds_bucket cupola_time_to_first_token_seconds_bucket
cupola_inter_token_seconds_bucket cupola_queue_seconds_bucket cupola_prefill_seconds_bucket cupola_decode_seconds_bucket
cupola_requests_waiting cupola_requests_running cupola_prompt_tokens_total cupola_cached_tokens_total
cupola_generated_tokens_total cupola_batch_size_bucket cupola_forward_seconds_bucket cupola_kv_used_ratio
cupola_cancelled_total cupola_rejected_total cupola_evictions_total cupola_unloads_total cupola_loads_total
cupola_load_seconds_bucket cupola_variant_fallbacks_total cupola_memory_bytes cupola_memory_budget_bytes
cupola_server_memory_bytes cupola_cpu_seconds_total cupola_model_info cupola_model_loaded cupola_build_info
cupola_energy_joules_total cupola_model_energy_joules_total cupola_energy_joules_per_token
vllm:num_requests_running vllm:num_requests_waiting vllm:kv_cache_usage_perc vllm:prompt_tokens_total
vllm:generation_tokens_total vllm:prefix_cache_queries_total vllm:prefix_cache_hits_total vllm:request_success_total
vllm:time_to_first_token_seconds_bucket vllm:inter_token_latency_seconds_bucket vllm:e2e_request_latency_seconds_bucket
vllm:request_queue_time_seconds_bucket vllm:request_prefill_time_seconds_bucket vllm:request_decode_time_seconds_bucket
llamacpp:prompt_tokens_total llamacpp:prompt_tokens_cached_total llamacpp:prompt_seconds_total
llamacpp:tokens_predicted_total llamacpp:tokens_predicted_seconds_total llamacpp:n_decode_total llamacpp:n_tokens_max
llamacpp:prompt_tokens_seconds llamacpp:predicted_tokens_seconds llamacpp:requests_processing
llamacpp:requests_deferred llamacpp:n_busy_slots_per_decode""".split()
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def powercap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The energy of one package, as Linux shows it."""
    root = tmp_path_factory.mktemp("powercap")
    zone = root / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text("1000\n")
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, powercap: Path) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "paced", step_seconds=0.01, answer_tokens=100_000)
    add_fake_model(home, "endless", step_seconds=0.02, answer_tokens=100_000)
    add_fake_model(home, "narrow", step_seconds=0.02, answer_tokens=100_000)
    add_fake_model(home, "pointer", tasks=("embeddings",), dimension=8)
    add_fake_model(home, "broken", fail_load="The weights are bent.")
    pull(home, "paced", "endless", "narrow", "pointer", "broken")
    with running_server(home, max_models="2", slots="4", max_queue="1", powercap=str(powercap)) as running:
        yield running


def ask(server: RunningServer, model: str, **body: Any) -> httpx.Response:
    with server.client() as http:
        return http.post(CHAT, json={"model": model, "messages": [{"role": "user", "content": "Hello"}], **body})


def streamed(server: RunningServer, model: str, tokens: int) -> tuple[float, float, dict[str, int]]:
    """Seconds to the first text and to the end, and the usage, as a client sees them."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first, usage = 0.0, {}
    with server.client() as http:
        http.get("/version")  # the connection is not what is measured
        began = time.perf_counter()
        with http.stream("POST", CHAT, json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    first = first or time.perf_counter() - began
                    usage = json.loads(line[6:]).get("usage") or usage
    return first, time.perf_counter() - began, usage


def difference(server: RunningServer, before: Scrape, name: str, **labels: str) -> float:
    return scrape(server).value(name, **labels) - before.value(name, **labels)


def test_requests_and_tokens_are_those_that_clients_have_counted(server: RunningServer) -> None:
    ask(server, "paced", max_tokens=1)  # load it
    before = scrape(server)
    with ThreadPoolExecutor(3) as threads:
        seen = list(threads.map(lambda number: streamed(server, "paced", 5 + number), range(12)))
    plain = [ask(server, "paced", max_tokens=7, n=2).json()["usage"] for _ in range(2)]
    usages = [usage for _, _, usage in seen] + plain
    after = scrape(server)

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    prompts = sum(usage["prompt_tokens"] for usage in usages)
    answers = sum(usage["completion_tokens"] for usage in usages)
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)  # type: ignore[call-overload]
    assert grown("cupola_requests_total", route=CHAT, model="paced", status="200") == len(usages)
    assert grown("cupola_request_seconds_count", route=CHAT, model="paced") == len(usages)
    assert grown("cupola_time_to_first_token_seconds_count", model="paced") == len(usages)
    assert grown("cupola_prompt_tokens_total", model="paced") == prompts
    assert grown("cupola_generated_tokens_total", model="paced") == answers
    assert grown("cupola_cached_tokens_total", model="paced") == cached
    assert grown("vllm:prompt_tokens_total", model_name="paced") == prompts
    assert grown("vllm:generation_tokens_total", model_name="paced") == answers
    assert grown("llamacpp:tokens_predicted_total", model="paced") == answers
    assert grown("llamacpp:prompt_tokens_total", model="paced") == prompts - cached
    sequences = len(seen) + 2 * len(plain)
    assert grown("cupola_inter_token_seconds_count", model="paced") == answers - sequences
    assert grown("vllm:request_success_total", model_name="paced", finished_reason="length") == sequences
    median = statistics.median(first for first, _, _ in seen)
    place, found = place_of(median, before, after), median_bucket(before, after)
    assert abs(place - found) <= 1, (median, place, found)


def place_of(seconds: float, before: Scrape, after: Scrape) -> int:
    edges = [edge for edge, _ in after.buckets("cupola_time_to_first_token_seconds", model="paced")]
    return next(place for place, edge in enumerate(edges) if seconds <= edge)


def median_bucket(before: Scrape, after: Scrape) -> int:
    name = "cupola_time_to_first_token_seconds"
    counts = [
        now - then
        for (_, now), (_, then) in zip(
            after.buckets(name, model="paced"), before.buckets(name, model="paced"), strict=True
        )
    ]
    return next(place for place, count in enumerate(counts) if count >= counts[-1] / 2)
