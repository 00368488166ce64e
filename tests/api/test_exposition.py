"""GET /metrics of a real server says what its clients have counted."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics

from ..metrics.scraping import Scrape, scrape
from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for

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


def streamed(server: RunningServer, model: str, tokens: int) -> tuple[float, float, dict[str, Any]]:
    """Seconds to the first text and to the end, and the usage, as a client sees them."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first = 0.0
    usage: dict[str, Any] = {}
    with server.client() as http:
        http.get("/version")  # the connection is not what is measured
        began = time.perf_counter()
        with http.stream("POST", CHAT, json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    first = first or time.perf_counter() - began
                    usage = json.loads(line[6:]).get("usage") or usage
    return first, time.perf_counter() - began, usage


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
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
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
    gaps = grown("cupola_inter_token_seconds_count", model="paced")
    assert answers - 2 * sequences < gaps <= answers - sequences  # tokens that came with the first one have no gap
    assert grown("vllm:request_success_total", model_name="paced") == sequences
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


def test_whole_conversations_of_every_api_are_counted(server: RunningServer) -> None:
    ask(server, "paced", max_tokens=1)
    before = scrape(server)
    said = [{"role": "user", "content": "Hello"}]
    with server.client() as http:
        answers = [
            http.post("/v1/completions", json={"model": "paced", "prompt": ["one", "two"], "n": 2, "max_tokens": 3}),
            http.post("/v1/responses", json={"model": "paced", "input": "Hello", "max_output_tokens": 16}),
            http.post("/v1/messages", json={"model": "paced", "messages": said, "max_tokens": 4}),
            http.post("/api/chat", json={"model": "paced", "messages": said, "options": {"num_predict": 5}}),
        ]
    completion, response, message, chat = answers
    assert all(answer.status_code == 200 for answer in answers)
    last = json.loads(chat.text.splitlines()[-1])
    usages = [
        tuple(completion.json()["usage"][name] for name in ("prompt_tokens", "completion_tokens")),
        tuple(response.json()["usage"][name] for name in ("input_tokens", "output_tokens")),
        (message.json()["usage"]["input_tokens"], message.json()["usage"]["output_tokens"]),
        (last["prompt_eval_count"], last["eval_count"]),
    ]
    after = scrape(server)
    for name, tokens in zip(("prompt", "generated"), map(sum, zip(*usages, strict=True)), strict=True):
        full = f"cupola_{name}_tokens_total"
        # Anthropic's input is what was not reused; the others count all.
        reused = message.json()["usage"].get("cache_read_input_tokens", 0) if name == "prompt" else 0
        assert after.value(full, model="paced") - before.value(full, model="paced") == tokens + reused, name
    for route in ("/v1/completions", "/v1/responses", "/v1/messages", "/api/chat"):
        assert after.value("cupola_requests_total", route=route, model="paced", status="200") >= 1


def test_vectors_count_the_tokens_of_their_texts(server: RunningServer) -> None:
    with server.client() as http:
        usage = http.post("/v1/embeddings", json={"model": "pointer", "input": ["one", "three"]}).json()["usage"]
        count = http.post("/api/embed", json={"model": "pointer", "input": "two"}).json()["prompt_eval_count"]
    after = scrape(server)
    assert after.value("cupola_prompt_tokens_total", model="pointer") == usage["prompt_tokens"] + count
    assert after.value("cupola_generated_tokens_total", model="pointer") == 0
    assert after.value("cupola_requests_total", model="pointer", route="/v1/embeddings", status="200") == 1


def test_a_request_that_its_client_gave_up_is_cancelled(server: RunningServer) -> None:
    body = {"model": "endless", "messages": [{"role": "user", "content": "Hello"}]}
    before = scrape(server)
    with server.client() as http, http.stream("POST", CHAT, json=body | {"stream": True}) as answer:
        lines = answer.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        wait_for(lambda: scrape(server).value("cupola_requests_running", model="endless") == 1)
        assert scrape(server).value("cupola_kv_used_ratio", model="endless") > 0
    with server.client(timeout=0.5) as http, pytest.raises(httpx.ReadTimeout):
        http.post(CHAT, json=body)
    wait_for(lambda: scrape(server).value("cupola_cancelled_total", model="endless") == 2)
    after = scrape(server)
    assert after.value("cupola_requests_total", model="endless", status="499") == 2
    assert after.value("cupola_requests_total", model="endless", status="200") == 0
    assert after.value("cupola_generated_tokens_total", model="endless") > 0
    assert after.value("vllm:request_success_total", model_name="endless", finished_reason="abort") == 2
    assert before.value("cupola_cancelled_total", model="endless") == 0
    # Nobody runs: the engine has said so, though it makes no more steps.
    wait_for(lambda: scrape(server).value("cupola_requests_running", model="endless") == 0)
    assert scrape(server).value("cupola_kv_used_ratio", model="endless") == 0


def test_a_background_response_counts_when_it_has_ended(server: RunningServer) -> None:
    labels = {"route": "/v1/responses", "model": "endless"}
    with server.client() as http:
        made = http.post("/v1/responses", json={"model": "endless", "input": "Hello", "background": True}).json()
        wait_for(lambda: scrape(server).value("cupola_requests_running", model="endless") == 1)
        assert scrape(server).value("cupola_requests_total", **labels) == 0
        http.post(f"/v1/responses/{made['id']}/cancel", json={})
    assert scrape(server).value("cupola_requests_total", **labels, status="499") == 1
    short = {"model": "endless", "input": "Hello", "background": True, "max_output_tokens": 16}
    with server.client() as http:
        http.post("/v1/responses", json=short)
    wait_for(lambda: scrape(server).value("cupola_requests_total", **labels, status="200") == 1)
    assert scrape(server).value("cupola_request_seconds_sum", **labels) > 16 * 0.02


def test_evictions_loads_and_what_was_refused(server: RunningServer) -> None:
    before = scrape(server)
    body = {"model": "narrow", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}

    def once(_: int) -> int:
        with server.client() as http:
            return http.post(CHAT, json=body).status_code

    ask(server, "narrow", max_tokens=1)
    with ThreadPoolExecutor(12) as threads:
        statuses = list(threads.map(once, range(12)))
    assert ask(server, "broken").status_code == 500
    after = scrape(server)
    assert after.value("cupola_requests_total", route=CHAT, model="narrow", status="429") == statuses.count(429) > 0
    assert after.value("cupola_rejected_total", reason="queue_full") == statuses.count(429)
    assert after.value("cupola_loads_total", model="broken", result="failed") == 1
    assert after.value("cupola_loads_total", model="narrow", result="ok") == 1
    assert after.value("cupola_load_seconds_count", model="narrow") == 1
    evicted = after.value("cupola_evictions_total") - before.value("cupola_evictions_total")
    assert evicted >= 1
    assert after.value("cupola_unloads_total", reason="budget") == after.value("cupola_evictions_total")
    loaded = {one["id"].partition("@")[0] for one in server.residents()}
    assert {one["model"] for one in after.labels("cupola_model_info")} == loaded
    assert after.value("cupola_model_loaded") == len(loaded)


def test_a_worker_that_died_is_counted_and_replaced(server: RunningServer) -> None:
    ask(server, "paced", max_tokens=1)
    before = scrape(server)
    pid = next(one["pid"] for one in server.residents() if one["id"].startswith("paced@"))
    psutil.Process(pid).kill()
    wait_for(lambda: not psutil.pid_exists(pid))
    assert ask(server, "paced", max_tokens=1).status_code == 200
    after = scrape(server)
    for name, labels in (
        ("cupola_worker_restarts_total", {"cause": "killed by SIGKILL"}),
        ("cupola_unloads_total", {"reason": "died"}),
        ("cupola_loads_total", {"result": "ok"}),
    ):
        assert after.value(name, model="paced", **labels) - before.value(name, model="paced", **labels) == 1, name


def test_energy_goes_to_the_model_whose_worker_computed(server: RunningServer, powercap: Path) -> None:
    before = scrape(server)
    ask(server, "paced", max_tokens=50)
    (powercap / "intel-rapl:0" / "energy_uj").write_text(str(1000 + 7_000_000))
    after = scrape(server)
    moved = {
        name: after.value(name) - before.value(name)
        for name in ("cupola_energy_joules_total", "cupola_model_energy_joules_total")
    }
    assert moved["cupola_energy_joules_total"] == pytest.approx(7.0)
    assert 0 < moved["cupola_model_energy_joules_total"] <= 7.0
    assert after.value("cupola_energy_joules_per_token", model="paced") == pytest.approx(
        after.value("cupola_model_energy_joules_total", model="paced")
        / after.value("cupola_generated_tokens_total", model="paced")
    )


def test_what_clients_make_up_is_no_series(server: RunningServer) -> None:
    ask(server, "paced", max_tokens=1)
    ask(server, "made-up-0")
    with server.client() as http:
        http.get("/made/up")
        before = scrape(server)
        for number in range(1000):
            said = {"messages": [{"role": "user", "content": "Hi"}], "user": f"user-{number}", "max_tokens": 1}
            http.post(CHAT, json={"model": f"made-up-{number}", **said})
            http.get(f"/made/up/{number}", headers={"X-Request-Id": f"id-{number}", "User-Agent": f"{number}"})
    after = scrape(server)
    assert after.value("cupola_requests_total", model="unknown", status="404") >= 1000
    assert after.value("cupola_requests_total", route="other", model="", status="404") >= 1000
    assert series(after) == series(before)


def series(found: Scrape) -> set[tuple[str, ...]]:
    return {(one.name, *sorted(f"{name}={value}" for name, value in one.labels.items())) for one in found.samples}


def test_every_name_is_there_in_both_formats(server: RunningServer) -> None:
    ask(server, "paced", max_tokens=2)
    with server.client() as http:
        plain = http.get("/metrics")
        newer = http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert newer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    found = {one.name for one in Scrape.of(plain.text).samples}
    assert {name for name in NAMES if name not in found} == set()
    parse: Callable[[str], Iterator[Metric]] = openmetrics.text_string_to_metric_families
    assert {one.name for family in parse(newer.text) for one in family.samples} == found
    assert all(family.documentation for family in Scrape.of(plain.text).families.values())


def test_a_scrape_loads_nothing(server: RunningServer) -> None:
    before = server.residents()
    scrape(server)
    assert [one["id"] for one in server.residents()] == [one["id"] for one in before]


def test_a_request_has_an_id(server: RunningServer) -> None:
    with server.client() as http:
        own = [http.get("/version").headers["x-request-id"] for _ in range(2)]
        given = http.get("/version", headers={"X-Request-Id": "build-7.3"}).headers["x-request-id"]
        odd = http.get("/version", headers={"X-Request-Id": 'a" b'}).headers["x-request-id"]
        refused = http.get("/version", headers={"Host": "elsewhere.example"})
    assert own[0] != own[1]
    assert given == "build-7.3"
    assert odd != 'a" b'
    assert refused.status_code == 403
    assert refused.headers["x-request-id"]
