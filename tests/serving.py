"""Servers as users start them: a process, a socket, a home."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from server.environment import child_environment
from server.models.registry import Registry
from server.models.store import Store
from server.settings import Settings

# Beside another process of tests an engine has one core: two engines of two threads each, which wait for one another by
# spinning, wrote 9 tokens a second on two cores, and of one thread each 92.
SHARE = {"CUPOLA_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {}  # noqa: TID251


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A `cupola serve` process and its address."""

    process: subprocess.Popen[str]
    url: str
    home: Path

    def client(self, timeout: float = 60.0) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=timeout, trust_env=False)

    def residents(self) -> list[dict[str, Any]]:
        """What `cupola ps` shows."""
        with self.client() as client:
            models: list[dict[str, Any]] = client.get("/admin/models").json()["models"]
            return models


@contextmanager
def running_server(home: Path, *arguments: str, log: Path | None = None, **settings: str) -> Iterator[RunningServer]:
    """`cupola serve` on a free port with `CUPOLA_<NAME>` settings; it has ended when the block is left.

    Its log goes to where that of the tests goes, or to a file.
    """
    environment = child_environment() | SHARE | {f"CUPOLA_{name.upper()}": value for name, value in settings.items()}
    if settings.get("offline") == "false":
        environment["HF_HUB_OFFLINE"] = "0"  # huggingface_hub reads its own variable, which children are given
    with log.open("w") if log is not None else nullcontext() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "server", "serve", "--port", "0", *arguments],
            env=environment | {"CUPOLA_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # "Cupola serves on http://127.0.0.1:41237  (Ctrl-C ends it). Try:"
        url = next((word for word in line.split() if word.startswith("http://")), "")
        assert url, f"the server did not start: {line!r}, exit status {process.poll()}"
        wait_until_live(url)
        yield RunningServer(process, url, home)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def wait_until_live(url: str) -> None:
    """The listening socket queues connections before the application accepts them, so one request is enough."""
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False, timeout=20) as client:
        client.get(f"{url}/health/live").raise_for_status()


def add_fake_model(
    home: Path, name: str, sampling: dict[str, float] | None = None, tasks: tuple[str, ...] = ("chat",), **options: Any
) -> None:
    """Put a fake model with `FakeOptions` into the overlay of a home; it is to be pulled like any other."""
    home.mkdir(parents=True, exist_ok=True)
    artifact = home / f"{name}.json"
    artifact.write_text(json.dumps(options))
    overlay = home / "models.yaml"
    content = yaml.safe_load(overlay.read_text()) if overlay.exists() else {"models": []}
    variant = {"name": "weightless", "format": "fake", "source": {"type": "file", "path": str(artifact)}}
    entry = {"name": name, "licence": "Apache-2.0", "context_length": 4096, "variants": [variant]}
    content["models"].append(entry | {"sampling": sampling or {}, "tasks": list(tasks)})
    overlay.write_text(yaml.safe_dump(content))


def pull(home: Path, *names: str) -> None:
    """Pull models of a home's overlay, without a command."""
    registry = Registry.load(home / "models.yaml")
    for name in names:
        model, variants = registry.resolve(name)
        Store(home).pull(model, variants[0], Settings(home=home))
