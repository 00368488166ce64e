"""What leaves the disk when a model is removed, whatever else went wrong before."""

from pathlib import Path

from server.models.spec import FileSource, Variant
from server.models.store import Store
from server.settings import Settings

from .conftest import WEIGHTS, make_model


def test_a_pull_that_failed_keeps_nobody_s_bytes(home: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(WEIGHTS)
    model = make_model(Variant(name="gguf", format="gguf", source=FileSource(path=str(tmp_path / "a.gguf"))))
    store.pull(model, model.variants[0], Settings(home=home))
    (home / "partial" / "0123456789abcdef").mkdir()  # nobody holds its lock
    assert store.remove(model, model.variants[0]) == len(WEIGHTS)
    assert not [*home.glob("blobs/*")]


def test_the_same_bytes_under_two_names_take_their_place_once(home: Path, store: Store, tmp_path: Path) -> None:
    models = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.gguf").write_bytes(WEIGHTS)
        source = FileSource(path=str(tmp_path / f"{name}.gguf"))
        models.append(make_model(Variant(name="gguf", format="gguf", source=source), name=name))
    paths = [store.path(store.pull(model, model.variants[0], Settings(home=home))) for model in models]
    assert len({path.stat().st_ino for path in (*paths, *home.glob("blobs/*"))}) == 1
