"""How soon a server answers, and what it holds when nobody asks."""

from pathlib import Path

import psutil
import pytest

from .serving import running_server

LIVE_SECONDS = 1.5  # of the processor: what other programs take meanwhile is not ours
MEMORY = 120e6


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
