"""Edges, distributions and labels."""

import asyncio
import itertools

import pytest

from server.metrics.collecting import Exposition
from server.metrics.dialects import vllm
from server.metrics.dialects.llamacpp import Pace
from server.metrics.energy import Energy
from server.metrics.families import HISTOGRAMS, SECONDS, Family, geometric
from server.metrics.meter import Ended, Meter
from server.metrics.numbers import Distribution
from server.metrics.picture import LoadedModel, Picture
from server.types import Usage
from server.worker.messages import StepDone

from .scraping import Scrape


class Nothing:
    def read(self) -> dict[str, float]:
        return {}


def meter() -> Meter:
    return Meter({"one", "two"}.__contains__)


def scraped(found: Meter, *loaded: LoadedModel) -> Scrape:
    exposition = Exposition(found, lambda: Picture([*loaded]), Energy(Nothing(), Nothing()))
    return Scrape.of(asyncio.run(exposition.text(""))[0].decode())


def model(name: str, *, loading: bool = False, encodes: bool = False, users: int = 0) -> LoadedModel:
    return LoadedModel(name, "v", "1", "fake", "none", "cpu", loading, not loading, users, encodes, 7, 5, 3, 1.5)


def test_edges_lie_close_where_small_models_live() -> None:
    assert SECONDS[0] == 0.001
    assert 10.0 in SECONDS
    assert SECONDS[-1] >= 300
    for below, above in itertools.pairwise(SECONDS):
        assert 1.3 < above / below <= 1.5
    assert geometric(1, 100, per_decade=1) == (1.0, 10.0, 100.0)
    assert geometric(0.5, 3, per_decade=2) == (0.5, 1.58)


def test_every_time_of_ours_has_these_edges() -> None:
    assert {family.edges for family in HISTOGRAMS.values() if family.name.endswith("_seconds")} == {SECONDS}


def test_a_value_counts_at_its_edge_and_above() -> None:
    kept = Distribution((1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 1.1, 4.0, 9.0):
        kept.add(value)
    kept.add(2.0, times=3)
    assert kept.buckets() == [("1.0", 2), ("2.0", 6), ("4.0", 7), ("+Inf", 8)]
    assert kept.count == 8
    assert kept.sum == pytest.approx(0.5 + 1.0 + 1.1 + 4.0 + 9.0 + 6.0)


def test_what_is_measured_once_stands_under_both_names() -> None:
    found = meter()
    found.first_token("one", 0.03)
    found.next_tokens("one", 0.06, 3)
    scrape = scraped(found)
    assert scrape.value("cupola_time_to_first_token_seconds_sum", model="one") == pytest.approx(0.03)
    assert scrape.value("vllm:time_to_first_token_seconds_bucket", model_name="one", engine="0", le="0.02") == 0
    assert scrape.value("vllm:time_to_first_token_seconds_bucket", model_name="one", engine="0", le="0.04") == 1
    assert scrape.value("cupola_inter_token_seconds_count", model="one") == 3
    assert scrape.value("vllm:inter_token_latency_seconds_sum", model_name="one") == pytest.approx(0.06)
    assert [edge for edge, _ in scrape.buckets("vllm:inter_token_latency_seconds")][:3] == [0.01, 0.025, 0.05]


def test_a_step_says_how_things_stand() -> None:
    found = meter()
    found.step("one", "w", StepDone(sequences=3, running=3, waiting=2, kv_used=50, kv_capacity=200, seconds=0.01))
    found.step("one", "w", StepDone(running=1, kv_used=10, kv_capacity=200))  # nobody ran: a client has left
    scrape = scraped(found, model("one"))
    assert scrape.value("cupola_batch_size_sum", model="one") == 3
    assert scrape.value("cupola_batch_size_count", model="one") == 1
    assert scrape.value("llamacpp:n_decode_total", model="one") == 1
    assert scrape.value("cupola_requests_running", model="one") == 1
    assert scrape.value("cupola_requests_waiting", model="one") == 0
    assert scrape.value("vllm:kv_cache_usage_perc", model_name="one") == pytest.approx(0.05)
    found.unloaded("one", "w", "idle")
    scrape = scraped(found)
    assert scrape.value("cupola_requests_running", model="one") == 0
    assert scrape.value("cupola_unloads_total", model="one", reason="idle") == 1
    assert scrape.value("cupola_model_loaded", model="one") == 0


def test_two_workers_of_a_model_stand_together() -> None:
    found = meter()
    found.step("one", "older", StepDone(running=3, waiting=2, kv_used=50, kv_capacity=200))
    found.step("one", "newer", StepDone(running=1, kv_used=10, kv_capacity=100))
    scrape = scraped(found, model("one"), model("one"), model("one", loading=True, users=4))
    assert scrape.value("cupola_requests_running", model="one") == 4
    assert scrape.value("cupola_requests_waiting", model="one") == 6
    assert scrape.value("cupola_kv_used_ratio", model="one") == pytest.approx(0.2)
    found.unloaded("one", "older", "reload")
    scrape = scraped(found, model("one"))
    assert scrape.value("cupola_requests_running", model="one") == 1
    assert scrape.value("cupola_requests_waiting", model="one") == 0


def test_who_waits_for_a_load_waits() -> None:
    found = meter()
    assert scraped(found, model("one", loading=True, users=4)).value("cupola_requests_waiting", model="one") == 4
    found.loaded("one", 2.0)
    scrape = scraped(found, model("one"), model("two", encodes=True, users=3))
    assert scrape.value("cupola_requests_waiting", model="one") == 0
    assert scrape.value("cupola_requests_running", model="two") == 3
    assert scrape.value("cupola_model_info", model="one", variant="v", engine="fake", device="cpu") == 1
    assert scrape.value("cupola_memory_bytes", model="one", kind="kv") == 5
    assert scrape.value("cupola_cpu_seconds_total", process="one") == 1.5


def test_a_prompt_of_several_continuations_counts_once() -> None:
    found = meter()
    usage = Usage(10, 4, 6, 0.1, 0.2, 0.3)
    found.sequence("one", "stop", usage, first=True)
    found.sequence("one", "length", usage, first=False)
    scrape = scraped(found)
    assert scrape.value("cupola_prompt_tokens_total", model="one") == 10
    assert scrape.value("cupola_cached_tokens_total", model="one") == 6
    assert scrape.value("llamacpp:prompt_tokens_total", model="one") == 4
    assert scrape.value("vllm:request_success_total", finished_reason="length") == 1
    assert scrape.value("cupola_decode_seconds_count", model="one") == 2
    assert scrape.value("vllm:request_time_per_output_token_seconds_sum") == pytest.approx(0.2)
    assert scrape.value("llamacpp:n_tokens_max", model="one") == 14


def test_names_that_clients_make_up_share_one_series() -> None:
    found = meter()
    for number in range(1000):
        found.request(Ended("/v1/chat/completions", f"made-up-{number}", 404, 0.1, "model_not_found"))
    found.request(Ended("other", "", 404, 0.1))
    assert not found.models
    scrape = scraped(found)
    assert scrape.value("cupola_requests_total", model="unknown", status="404") == 1000
    assert scrape.labels("cupola_requests_total") == [
        {"route": "/v1/chat/completions", "model": "unknown", "status": "404"},
        {"route": "other", "model": "", "status": "404"},
    ]
    for number in range(1000):
        found.first_token(f"made-up-{number}", 0.1)
    assert {*found.models} == {"unknown"}


def test_only_refusals_for_want_of_room_are_rejections() -> None:
    found = meter()
    for status, error in ((429, "queue_full"), (503, "pool_full"), (503, None), (404, "model_not_found"), (200, None)):
        found.request(Ended("/v1/completions", "one", status, 0.1, error))
    scrape = scraped(found)
    counted = {one.labels["reason"]: one.value for one in scrape.samples if one.name == "cupola_rejected_total"}
    assert {reason for reason, count in counted.items() if count} == {"queue_full", "pool_full"}
    assert counted["model_loading"] == 0  # a series that begins at 1 is no increase to Prometheus
    assert scrape.value("vllm:request_success_total", finished_reason="error") == 1


def test_what_the_pool_tells() -> None:
    found = meter()
    found.load_failed("one")
    found.fell_back("one")
    found.evicted("two")
    found.restarted("two", "killed by SIGKILL")
    scrape = scraped(found)
    assert scrape.value("cupola_loads_total", model="one", result="failed") == 1
    assert scrape.value("cupola_loads_total", model="one", result="ok") == 0
    assert scrape.value("cupola_variant_fallbacks_total", model="one") == 1
    assert scrape.value("cupola_evictions_total", model="two") == 1
    assert {one["reason"] for one in scrape.labels("cupola_unloads_total")} >= {"idle", "died"}
    assert scrape.value("cupola_worker_restarts_total", model="two", cause="killed by SIGKILL") == 1


def test_two_scrapers_see_the_same_pace() -> None:
    pace, other = Pace(), Pace()
    seen = []
    for second in range(0, 120, 5):
        seen.append(pace.read(100.0 * second, second, second))
        assert pace.read(100.0 * second, second, second) == seen[-1]  # another scraper takes nothing away
        other.read(100.0 * second, second, second)
    assert seen[1:] == [pytest.approx(100.0)] * (len(seen) - 1)
    # The pace of the last minute, and not of the whole life.
    for second in range(120, 260, 5):
        latest = pace.read(12_000 + 10.0 * (second - 120), second, second)
    assert latest == pytest.approx(10.0)


def test_names_of_families_are_no_two_of_a_kind() -> None:
    families: list[Family] = [*HISTOGRAMS.values(), *vllm.HISTOGRAMS.values()]
    assert len({family.name for family in families}) == len(families)
