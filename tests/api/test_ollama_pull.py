"""POST /api/pull with Ollama's client, against a hub on this machine."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml
from ollama import Client, ResponseError

from server.api.pulls import Pulls
from server.errors import PullStopped
from server.hardware.place import Facts
from server.models.choice import Chooser
from server.models.progress import Progress
from server.models.registry import Registry
from server.models.spec import HuggingFaceSource, ModelsFile, ModelSpec, Variant
from server.models.store import Store
from server.settings import Settings

from ..models.hub import Hub, running_hub
from ..serving import RunningServer, running_server

REPO = "acme/tiny"
WEIGHTS = b"{}".ljust(1_500_000)  # a fake model without options
TINY = ModelSpec(
    name="tiny",
    licence="MIT",
    context_length=512,
    variants=(Variant(name="weightless", format="fake", source=HuggingFaceSource(repo=REPO, files=("tiny.json",))),),
)


def pulls_of(hub: Hub, home: Path) -> Pulls:
    """Pulls without a server."""
    settings = Settings(home=home, hf_endpoint=hub.url, offline=False, hf_token=None)
    facts = Facts({"fake": frozenset({"cpu"})}, {}, 10**12, {}, "this device")
    return Pulls(settings, Store(home), Chooser(Registry(ModelsFile(models=(TINY,))), Store(home), facts))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.repos[REPO] = {"tiny.json": WEIGHTS}
        yield running


@pytest.fixture
def server(hub: Hub, tmp_path: Path) -> Iterator[RunningServer]:
    source = {"type": "huggingface", "repo": REPO, "files": ["tiny.json"]}
    lost = {"type": "huggingface", "repo": "acme/nothing", "files": ["*.json"]}
    models = [
        {
            "name": name,
            "licence": "MIT",
            "context_length": 512,
            "variants": [{"name": "weightless", "format": "fake", "source": origin}],
        }
        for name, origin in (("tiny", source), ("lost", lost))
    ]
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    with running_server(tmp_path, hf_endpoint=hub.url, offline="false") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url, timeout=30) as found:
        yield found


def names(client: Client) -> list[str | None]:
    return [model.model for model in client.list().models]


def test_a_pulled_model_is_there(client: Client) -> None:
    assert "tiny:latest" not in names(client)
    with pytest.raises(ResponseError, match="cupola pull tiny"):
        client.generate("tiny", "Hello")
    parts = list(client.pull("tiny:latest", stream=True))
    assert parts[-1].status == "success"
    assert all(part.digest == "tiny.json" and (part.completed or 0) <= (part.total or 0) for part in parts[:-1])
    assert "tiny:latest" in names(client)
    assert client.generate("tiny", "Hello", options={"num_predict": 2}).eval_count == 2
    assert client.pull("tiny").status == "success"  # again: it is here


def test_two_who_ask_at_once_share_one_pull(server: RunningServer, client: Client, hub: Hub) -> None:
    hub.faults.pause_at = 600_000
    with ThreadPoolExecutor() as threads:
        first = threads.submit(lambda: [part.status for part in client.pull("tiny", stream=True)])
        assert hub.reached.wait(10)
        with server.client() as http, http.stream("POST", "/api/pull", json={"model": "tiny"}) as second:
            lines = second.iter_lines()
            assert "pulling tiny.json" in next(lines)  # it is told how far the other's pull is
            hub.go_on.set()
            assert "success" in list(lines)[-1]
        assert first.result(10)[-1] == "success"
    assert hub.bodies("tiny.json") == len(WEIGHTS)


def test_a_client_that_leaves_harms_nothing(server: RunningServer, client: Client, hub: Hub) -> None:
    hub.faults.pause_at = 600_000
    with server.client() as http, http.stream("POST", "/api/pull", json={"model": "tiny"}) as leaver:
        assert next(leaver.iter_lines())
        assert hub.reached.wait(10)
    hub.go_on.set()
    assert client.pull("tiny").status == "success"
    assert client.generate("tiny", "Hello", options={"num_predict": 2}).eval_count == 2


def test_a_pull_stops_when_all_have_left_and_goes_on_when_asked_again(hub: Hub, tmp_path: Path) -> None:
    """Paused early, since what the sockets hold is still read: the rest must not be."""
    hub.faults.pause_at = 100_000

    async def leave(pulls: Pulls) -> None:
        one, other = pulls.pull("tiny"), pulls.pull("tiny:latest")
        async with aclosing(other):
            async with aclosing(one):
                assert await anext(one)
                assert await anext(other)
            assert await asyncio.to_thread(hub.reached.wait, 10)
            (running,) = pulls._running.values()
            assert not running.abandoned, "somebody waits for it still"
        assert running.abandoned
        hub.go_on.set()

    async def scenario() -> None:
        pulls = pulls_of(hub, tmp_path)
        try:
            await leave(pulls)
            assert Store(tmp_path).manifest(TINY, TINY.variants[0]) is None
            steps = [step async for step in pulls.pull("tiny")]  # waits until the one that was left has stopped
            assert isinstance(steps[-1], Progress)
            assert Store(tmp_path).manifest(TINY, TINY.variants[0]) is not None
            assert not pulls._running
        finally:
            await pulls.close()

    asyncio.run(scenario())
    assert len(hub.requests("tiny.json", "cdn")) == 2, "the second went on where the first had stopped"
    assert (tmp_path / "blobs").is_dir()


def test_closing_stops_what_runs(hub: Hub, tmp_path: Path) -> None:
    hub.faults.pause_at = 100_000

    async def scenario() -> None:
        pulls = pulls_of(hub, tmp_path)
        async with aclosing(pulls.pull("tiny")) as steps:
            assert await anext(steps)
            assert await asyncio.to_thread(hub.reached.wait, 10)
            closing = asyncio.ensure_future(pulls.close())
            await asyncio.sleep(0)
            hub.go_on.set()
            with pytest.raises(PullStopped):
                [step async for step in steps]
            await closing

    asyncio.run(scenario())
    assert Store(tmp_path).manifest(TINY, TINY.variants[0]) is None


def test_a_source_that_fails_is_an_error(client: Client) -> None:
    for stream in (True, False):
        with pytest.raises(ResponseError, match="acme/nothing"):
            list(client.pull("lost", stream=True)) if stream else client.pull("lost")
    assert "lost:latest" not in names(client)
