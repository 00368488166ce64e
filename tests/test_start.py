"""How soon a server answers, and what it holds and takes when nobody asks."""

import time
from pathlib import Path

import psutil
import pytest

from .serving import add_fake_model, pull, running_server
from .waiting import wait_for

LIVE_SECONDS = 1.5  # of the processor: what other programs take meanwhile is not ours
MEMORY = 120e6
IDLE = 0.005  # of a core


@pytest.mark.alone
def test_a_server_is_soon_there_and_small(tmp_path: Path) -> None:
    taken = []
    for _ in range(3):
        with running_server(tmp_path) as server:
            process = psutil.Process(server.process.pid)
            times = process.cpu_times()
            taken.append(times.user + times.system + times.children_user + times.children_system)
            assert process.memory_info().rss < MEMORY
    assert min(taken) < LIVE_SECONDS


def test_an_idle_server_rests(tmp_path: Path) -> None:
    add_fake_model(tmp_path, "fake")
    pull(tmp_path, "fake")
    with running_server(tmp_path, "fake", keep_cache="0.1") as server:
        wait_for(lambda: [resident["state"] for resident in server.residents()] == ["asleep"], 20)
        own = psutil.Process(server.process.pid)
        processes = [own, *own.children(recursive=True)]
        before, began = spent(processes), time.monotonic()
        time.sleep(20)  # what is measured
        assert spent(processes) - before < IDLE * (time.monotonic() - began)


def spent(processes: list[psutil.Process]) -> float:
    """Seconds of the processor."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)
