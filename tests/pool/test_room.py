"""Room for a load."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from server.pool.room import all_gone

from ..serving import add_fake_model, pull, running_server
from ..waiting import wait_for

ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def ask(http: httpx.Client, model: str, timeout: float = 60.0) -> int:
    return http.post("/v1/chat/completions", json=ASK | {"model": model}, timeout=timeout).status_code


def test_who_waits_no_longer_for_an_unload_does_not_end_it() -> None:
    async def left() -> bool:
        ended = asyncio.Event()
        unload = asyncio.create_task(_until(ended))
        waiter = asyncio.create_task(all_gone([unload]))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        ended.set()
        await unload
        return waiter.cancelled()

    assert asyncio.run(left())


async def _until(ended: asyncio.Event) -> None:
    await ended.wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("room")
    for number, name in enumerate(("one", "two", "three"), 40):
        add_fake_model(home, name, answer_tokens=number)
    add_fake_model(home, "slow", load_seconds=2.0)
    pull(home, "one", "two", "three", "slow")
    return home


def test_loads_that_begin_at_once_take_turns_in_the_one_place(home: Path) -> None:
    with (
        running_server(home, max_models="1", room_seconds="15") as server,
        server.client() as http,
        ThreadPoolExecutor(3) as threads,
    ):
        for _ in range(2):  # when the place is free, and when an idle model has it
            assert [*threads.map(lambda model: ask(http, model), ("one", "two", "three"))] == [200] * 3


def test_a_load_that_nobody_waits_for_any_more_gives_its_place(home: Path) -> None:
    with running_server(home, max_models="1", room_seconds="15") as server, server.client() as http:
        with pytest.raises(httpx.ReadTimeout):
            ask(http, "slow", timeout=0.5)
        assert server.residents()[0]["state"] == "loading"
        assert ask(http, "one", timeout=10) == 200


def test_a_model_that_outgrew_the_budget_is_loaded_again(home: Path) -> None:
    with running_server(home) as server, server.client() as http:
        assert ask(http, "one") == 200
        process = psutil.Process(server.process.pid)
        processes = [process, *process.children(recursive=True)]
        taken = sum(each.memory_info().rss for each in processes)
        memory = server.residents()[0]["memory"]
    # Of a fake model nothing is known before its first load; then its worker takes twice of what is left to it.
    with running_server(home, memory=str(taken - memory // 2)) as server, server.client() as http:
        assert ask(http, "one") == 200
        assert http.post("/admin/unload", json={"model": "one"}).json()["unloaded"]
        wait_for(lambda: not server.residents())
        assert ask(http, "one") == 200
