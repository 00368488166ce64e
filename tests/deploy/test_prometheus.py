"""A real Prometheus scrapes a real server: the rules load, and every panel and every rule finds its series."""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ..pool.test_fallback import two_variants
from ..serving import RunningServer, add_fake_model, pull, running_server
from ..waiting import wait_for
from .prometheus import DEPLOY, Prometheus, configured, running_prometheus
from .test_alerts import NAMES, RULES

pytestmark = pytest.mark.timeout(240)

BOARD: dict[str, Any] = json.loads((DEPLOY.parent / "grafana" / "cupola.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "6s", "$model": ".*"}
SELECTOR = re.compile(r"\b((?:cupola_\w+|up\b)(?:\{[^}]*\})?)")
PATIENCE, PAUSE = 60.0, 0.25


def queries(panel: dict[str, Any]) -> list[str]:
    """The panel's queries, with what Grafana puts in for its variables."""
    found = []
    for target in panel["targets"]:
        query = str(target["expr"])
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        found.append(query)
    return found


class Energy:
    """A processor package that takes 5 joules each time it is asked to."""

    def __init__(self, root: Path) -> None:
        package = root / "intel-rapl:0"
        package.mkdir(parents=True)
        (package / "name").write_text("package-0\n")
        (package / "max_energy_range_uj").write_text("262143328850\n")
        self.root = root
        self._counter = package / "energy_uj"
        self._taken = 0
        self.take()

    def take(self) -> None:
        self._taken += 5_000_000
        new = self._counter.with_suffix(".new")
        new.write_text(f"{self._taken}\n")
        new.replace(self._counter)


class Traffic(threading.Thread):
    """What a server goes through, again and again: answers, a full queue, clients that leave, models that go."""

    def __init__(self, server: RunningServer, energy: Energy) -> None:
        super().__init__()
        self._server = server
        self._energy = energy
        self.done = threading.Event()
        self.statuses: set[int] = set()

    def run(self) -> None:
        with self._server.client() as http:
            while not self.done.is_set():
                for _ in range(8):
                    self._energy.take()
                    self.ask(http, "alpha")
                self.flood(http)
                self.leave(http)
                self.ask(http, "beta")
                self.ask(http, "broken")

    def ask(self, http: httpx.Client, model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
        self.statuses.add(http.post("/v1/chat/completions", json=body).status_code)

    def flood(self, http: httpx.Client) -> None:
        with ThreadPoolExecutor(8) as together:
            list(together.map(lambda _: self.ask(http, "alpha"), range(8)))

    def leave(self, http: httpx.Client) -> None:
        body = {"model": "alpha", "messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=body) as stream:
            next(stream.iter_lines())


@pytest.fixture(scope="module")
def energy(tmp_path_factory: pytest.TempPathFactory) -> Energy:
    return Energy(tmp_path_factory.mktemp("tree") / "powercap")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, energy: Energy) -> Iterator[RunningServer]:
    """Room for one model, and a queue for one request, so that what alerts look for happens."""
    home = tmp_path_factory.mktemp("monitored")
    for name in ("alpha", "beta"):
        add_fake_model(home, name, step_seconds=0.002)
    add_fake_model(home, "broken", fail_load="The weights are bent.")
    pull(home, "alpha", "beta", "broken")
    two_variants(home, "limping", first={"fail_load": "Bent."}, second={})
    with running_server(home, max_models="1", max_queue="1", slots="2", powercap=str(energy.root)) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: RunningServer, energy: Energy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped before anything happened, and goes on while the server is busy."""
    address = server.url.removeprefix("http://")
    config = configured(tmp_path_factory.mktemp("prometheus"), address, interval="500ms")
    with running_prometheus(config) as running:
        wait_for(lambda: running.values('up{job="cupola"}') == [1.0], 30, PAUSE)
        traffic = Traffic(server, energy)
        with server.client() as http:
            traffic.ask(http, "limping")
            traffic.ask(http, "alpha")
            kill_worker(server, "alpha")
            traffic.ask(http, "alpha")
        traffic.start()
        try:
            yield running
            assert traffic.statuses >= {200, 429, 500}
        finally:
            traffic.done.set()
            traffic.join()


def kill_worker(server: RunningServer, model: str) -> None:
    (pid,) = (int(one["pid"]) for one in server.residents() if one["id"].startswith(model))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(one.get("pid") == pid and one["state"] == "loaded" for one in server.residents()))


def test_the_rules_load(prometheus: Prometheus) -> None:
    (group,) = prometheus.ask("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == NAMES
    wait_for(lambda: all(r["health"] == "ok" for r in prometheus.ask("rules")["groups"][0]["rules"]), 20, PAUSE)


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_every_query_of_a_panel_returns_data(prometheus: Prometheus, panel: dict[str, Any]) -> None:
    for query in queries(panel):
        wait_for(lambda query=query: bool(prometheus.values(query)), PATIENCE, PAUSE)  # type: ignore[misc]


@pytest.mark.parametrize(
    "query",
    [
        "rate(cupola_energy_joules_total[10s])",
        'rate(cupola_model_energy_joules_total{model="alpha"}[10s])',
        'cupola_energy_joules_per_token{model="alpha"}',
        'rate(cupola_cached_tokens_total{model="alpha"}[10s])',
        'increase(cupola_evictions_total{model="alpha"}[60s])',
        'cupola_worker_restarts_total{model="alpha"}',
        'cupola_variant_fallbacks_total{model="limping"}',
        'increase(cupola_loads_total{model="broken", result="failed"}[60s])',
        'increase(cupola_rejected_total{reason="queue_full"}[60s])',
        'increase(cupola_cancelled_total{model="alpha"}[60s])',
    ],
)
def test_what_happened_is_seen(prometheus: Prometheus, query: str) -> None:
    wait_for(lambda: any(value > 0 for value in prometheus.values(query)), PATIENCE, PAUSE)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_selector_of_a_rule_matches_series(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    selectors = SELECTOR.findall(re.sub(r"(by|on) \([^)]*\)", "", rule["expr"]))
    assert selectors
    for selector in selectors:
        query = f"last_over_time({selector}[2m])"
        wait_for(lambda query=query: bool(prometheus.values(query)), PATIENCE, PAUSE)  # type: ignore[misc]


def test_the_board_is_whole() -> None:
    """Grafana ignores what it does not know, so what a panel needs is looked at here."""
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert {variable["name"] for variable in BOARD["templating"]["list"]} == {"datasource", "model"}
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency", "Queue", "Memory and cache", "Health", "Energy", "What is loaded"]


def test_grafana_is_given_the_board_and_the_data() -> None:
    provisioning = DEPLOY.parent / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "cupola.yml").read_text())["providers"]
    services = yaml.safe_load((DEPLOY.parent.parent / "compose.yaml").read_text())["services"]
    host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert any(port == published.rpartition(":")[2] for published in services[host]["ports"])
    board = f"./deploy/grafana/cupola.json:{provider['options']['path']}/cupola.json:ro"
    assert board in services["grafana"]["volumes"]
