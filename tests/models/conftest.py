"""A hub on this machine and an empty store, for every test that wants them."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.models.patience import Patience
from server.models.spec import HuggingFaceSource, ModelSpec, Variant
from server.models.store import Store
from server.settings import Settings

from .hub import Hub, running_hub

REPO = "acme/tiny-GGUF"
WEIGHTS = random.Random(1).randbytes(1_500_000)
IMPATIENT = Patience(attempts=3, first_wait=0.01, longest_wait=0.02)


def make_model(*variants: Variant, name: str = "tiny") -> ModelSpec:
    return ModelSpec(name=name, licence="MIT", context_length=128, variants=variants)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one repository, of which `tiny.gguf` is in LFS and `config.json` is not."""
    with running_hub() as running:
        running.repos[REPO] = {"tiny.gguf": WEIGHTS, "config.json": b'{"a": 1}', "extra/notes.txt": b"hello"}
        running.small = {"config.json", "notes.txt"}
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def settings(hub: Hub, home: Path) -> Settings:
    return Settings(home=home, hf_endpoint=hub.url, offline=False, hf_token=None)


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home, IMPATIENT)


@pytest.fixture
def variant() -> Variant:
    return Variant(name="gguf-q4", format="gguf", source=HuggingFaceSource(repo=REPO, files=("tiny.gguf",)))


@pytest.fixture
def model(variant: Variant) -> ModelSpec:
    return make_model(variant)
