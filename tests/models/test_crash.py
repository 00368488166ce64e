"""Processes that are killed while they pull, and processes that pull at the same time."""

import hashlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.models.manifest import Manifest
from server.models.spec import HuggingFaceSource, ModelSpec, Variant
from server.models.store import Store
from server.settings import Settings

from .conftest import REPO, WEIGHTS, make_model
from .hub import Faults, Hub, running_hub

if sys.platform == "win32":
    pytest.skip("SIGKILL is a POSIX matter", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
POINTS = 20
FILES = {"tiny-1.gguf": WEIGHTS[:700_000], "tiny-2.gguf": WEIGHTS[700_000:], "tiny-notes.gguf": b"GGUF notes"}


def command(home: Path, hub: Hub, repo: str = REPO, kill_at: int = 0, *limit: str) -> list[str]:
    pattern = "tiny*.gguf"
    return [sys.executable, "-m", "tests.models.puller", str(home), hub.url, repo, pattern, str(kill_at), *limit]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def started(arguments: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that is gone at the end in any case."""
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_phase(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tiny(repo: str) -> ModelSpec:
    source = HuggingFaceSource(repo=repo, files=("tiny*.gguf",))
    return make_model(Variant(name="gguf-q4", format="gguf", source=source))


def assert_sound(home: Path) -> None:
    """No file under a final name has other bytes than the name promises, and no manifest names a missing one."""
    for blob in home.glob("blobs/*"):
        assert blob.name == f"sha256-{hashlib.sha256(blob.read_bytes()).hexdigest()}"
    for path in home.glob("manifests/*/*.json"):
        for file in Manifest.model_validate_json(path.read_bytes()).files:
            assert (home / "blobs" / f"sha256-{file.sha256}").stat().st_size == file.size


def kept(home: Path) -> int:
    """Bytes that the next pull need not fetch."""
    partial = sum(path.stat().st_size for path in home.glob("partial/*/*.part"))
    return partial + sum(path.stat().st_size for path in home.glob("blobs/*"))


def test_kill_at_random_points(hub: Hub, tmp_path: Path) -> None:
    """Never a bad file under a final name; the next pull goes on from where the killed one was."""
    repos = [f"acme/run{number}" for number in range(POINTS + 1)]
    hub.repos = dict.fromkeys(repos, FILES)
    hub.small = {"tiny-notes.gguf"}
    whole = run(*command(tmp_path / "whole", hub, repos[-1]))
    assert whole.returncode == 0, whole.stderr
    events = int(whole.stdout.split()[-1])
    points = random.Random().sample(range(1, events + 1), POINTS)

    outlived: list[int] = []  # the network cuts a download in more or fewer pieces, so the last points may not come

    def killed(number: int) -> int:
        done = run(*command(tmp_path / str(number), hub, repos[number], points[number]))
        if done.returncode == 0:
            outlived.append(points[number])
        else:
            assert done.returncode == -signal.SIGKILL, done.stderr
        return number

    # The second pull has a hub of its own, so that nothing still on its way to a dead process counts.
    with running_hub() as second, ThreadPoolExecutor(2) as processes:
        second.repos, second.small = hub.repos, hub.small
        for number in processes.map(killed, range(POINTS)):
            goes_on(second, tmp_path / str(number), repos[number], points[number])
    assert len(outlived) <= 2
    assert min(outlived, default=events) > 0.9 * events


def goes_on(hub: Hub, home: Path, repo: str, point: int) -> None:
    assert_sound(home)
    have = kept(home)
    store, model = Store(home), tiny(repo)
    settings = Settings(home=home, hf_endpoint=hub.url, offline=False, hf_token=None)
    manifest = store.pull(model, model.variants[0], settings)
    served = sum(size for path, size in hub.served.items() if f"/{repo}/" in path)
    small = len(FILES["tiny-notes.gguf"])  # known by its git hash only, so it may be fetched again
    assert served <= sum(map(len, FILES.values())) - have + small, f"killed at event {point}"
    assert_sound(home)
    folder = store.path(manifest).parent
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert not any(home.glob("partial/*/*"))
    assert not any(home.rglob("*.new"))


def test_kill_in_the_middle_of_a_download(hub: Hub, tmp_path: Path) -> None:
    """What arrived before the kill is on the disk, not in a buffer."""
    hub.faults = Faults(pause_at=1_000_000)
    with started(command(tmp_path, hub)) as process:
        assert hub.reached.wait(30)
        assert read_phase(process) == "downloading"
        wait_for_bytes(tmp_path, 900_000)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert_sound(tmp_path)
    assert not any(tmp_path.glob("blobs/*"))
    hub.go_on.set()
    hub.reset()
    assert run(*command(tmp_path, hub)).returncode == 0
    assert hub.bodies("/tiny.gguf") <= len(WEIGHTS) - 900_000
    assert_sound(tmp_path)


def wait_for_bytes(home: Path, size: int) -> None:
    """Until the partial file has this size; the test's own timeout is the bound."""
    while sum(path.stat().st_size for path in home.glob("partial/*/*.part")) < size:
        pass


def test_two_processes_share_one_download(hub: Hub, tmp_path: Path) -> None:
    hub.faults = Faults(pause_at=1_000_000)
    with started(command(tmp_path, hub)) as first:
        assert hub.reached.wait(30)
        with started(command(tmp_path, hub)) as second:
            assert read_phase(second) == "waiting"
            hub.go_on.set()
            assert first.wait(30) == second.wait(30) == 0
    assert hub.bodies("/tiny.gguf") == len(WEIGHTS)
    assert len(hub.requests("/tiny.gguf", "cdn")) == 1
    assert_sound(tmp_path)


def test_the_one_who_waits_takes_over_from_a_dead_one(hub: Hub, tmp_path: Path) -> None:
    hub.faults = Faults(pause_at=1_000_000)
    with started(command(tmp_path, hub)) as first:
        assert hub.reached.wait(30)
        wait_for_bytes(tmp_path, 900_000)
        with started(command(tmp_path, hub)) as second:
            assert read_phase(second) == "waiting"
            first.kill()
            first.wait(30)
            hub.reset()
            hub.go_on.set()
            assert second.wait(30) == 0
    ranges = [seen.headers.get("range") for seen in hub.requests("/tiny.gguf", "cdn")]
    assert len(ranges) == 1
    assert int(str(ranges[0]).removeprefix("bytes=").removesuffix("-")) >= 900_000
    assert_sound(tmp_path)


def test_a_file_size_limit_is_a_full_disk(hub: Hub, tmp_path: Path) -> None:
    limited = run(*command(tmp_path, hub, REPO, 0, "1000000"))
    assert limited.returncode == 1
    assert limited.stderr.startswith("A file is larger than the disk at ")
    assert len(limited.stderr.splitlines()) == 1
    assert not any(tmp_path.glob("blobs/*"))
    hub.reset()
    assert run(*command(tmp_path, hub)).returncode == 0
    assert hub.bodies("/tiny.gguf") <= len(WEIGHTS) - 900_000
