"""A server with a model that calls tools, and proof that no client talks to anyone else."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.models.registry import Registry
from server.models.store import Store
from server.settings import Settings

from ..serving import RunningServer, running_server
from .node import Program

# LiteLLM reads these while it is imported: its tables of prices come from its package, and not from GitHub.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # noqa: TID251
os.environ["LITELLM_OFFLINE_MODE"] = "true"  # noqa: TID251

_strangers: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        if not ipaddress.ip_address(host).is_loopback:
            _strangers.append(host)
    elif event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1", "::1"):
        _strangers.append(str(arguments[0]))


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _private() -> Iterator[None]:
    """No client connects to anything but the server. Downloads are of fixtures that live longer, and made before."""
    _strangers.clear()
    yield
    assert not _strangers


@pytest.fixture(scope="package")
def coder_server(real_home: Path) -> Iterator[RunningServer]:
    """A server over Qwen2.5-Coder-0.5B, whose template knows tools; shared, so leave it as you found it."""
    store, registry = Store(real_home), Registry.load()
    model, variants = registry.resolve("qwen2.5-coder-0.5b")
    store.pull(model, variants[0], Settings(home=real_home))
    with running_server(real_home) as server:
        yield server


@pytest.fixture(scope="session")
def ai_sdk(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The Vercel AI SDK on Node. Installed from the npm registry, once; after that it needs no network."""
    return Program(Path(__file__).parent / "ai_sdk", tmp_path_factory.mktemp("ai_sdk"))
