import hashlib
import os
import stat
import sys
from pathlib import Path

import pytest

from server.errors import HashMismatch
from server.models.manifest import Manifest
from server.models.progress import Progress
from server.models.spec import FileSource, HuggingFaceSource, ModelSpec, Variant
from server.models.store import Store
from server.settings import Settings

from .conftest import REPO, WEIGHTS, make_model
from .hub import COMMIT, Hub


def files_of(home: Path, folder: str) -> list[Path]:
    return sorted(path for path in (home / folder).rglob("*") if path.is_file())


def local_model(path: Path, name: str = "tiny", form: str = "gguf") -> ModelSpec:
    source = FileSource(path=str(path))
    return make_model(Variant.model_validate({"name": "v", "format": form, "source": source}), name=name)


def test_a_pull_leaves_a_blob_a_view_and_a_manifest(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    assert store.manifest(model, variant) is None
    manifest = store.pull(model, variant, settings)

    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    assert [path.name for path in files_of(store.home, "blobs")] == [f"sha256-{sha256}"]
    assert store.manifest(model, variant) == manifest
    assert (manifest.commit, manifest.licence, manifest.source) == (COMMIT, "MIT", variant.source)
    assert [(file.name, file.size, file.sha256) for file in manifest.files] == [("tiny.gguf", len(WEIGHTS), sha256)]
    path = store.path(manifest)
    assert path.name == "tiny.gguf"
    assert path.read_bytes() == WEIGHTS
    assert files_of(store.home, "partial") == [next((store.home / "partial").glob("*.lock"))]
    store.verify(manifest)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a POSIX matter")
def test_what_is_stored_is_private_and_read_only(
    store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    store.pull(model, variant, settings)
    folders = [store.home, *(path for path in store.home.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert {stat.S_IMODE(blob.stat().st_mode) for blob in files_of(store.home, "blobs")} == {0o444}


def test_several_files_become_a_folder_without_the_folders_they_share(
    hub: Hub, store: Store, settings: Settings
) -> None:
    hub.repos[REPO] = {"cpu/int4/model.onnx": b"graph", "cpu/int4/sub/model.onnx.data": WEIGHTS, "gpu/model.onnx": b"x"}
    hub.small = {"model.onnx"}
    source = HuggingFaceSource(repo=REPO, files=("cpu/int4/*",))
    model = make_model(Variant(name="onnx-int4", format="onnx", source=source))
    manifest = store.pull(model, model.variants[0], settings)
    folder = store.path(manifest)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"model.onnx": b"graph", "sub/model.onnx.data": WEIGHTS}
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_split_gguf_is_opened_by_its_first_part(hub: Hub, store: Store, settings: Settings) -> None:
    hub.repos[REPO] = {"m-00002-of-00002.gguf": b"GGUF two", "m-00001-of-00002.gguf": b"GGUF one"}
    source = HuggingFaceSource(repo=REPO, files=("m-*.gguf",))
    model = make_model(Variant(name="gguf-q4", format="gguf", source=source))
    path = store.path(store.pull(model, model.variants[0], settings))
    assert path.name == "m-00001-of-00002.gguf"
    assert (path.parent / "m-00002-of-00002.gguf").read_bytes() == b"GGUF two"


def test_a_second_pull_asks_nobody(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    first = store.pull(model, variant, settings)
    hub.reset()
    assert store.pull(model, variant, settings) == first
    assert hub.seen == []


def test_what_a_pull_left_that_was_killed_at_its_very_end_is_cleared_by_the_next(
    store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    store.pull(model, variant, settings)
    lock = next((store.home / "partial").glob("*.lock"))
    left = lock.with_suffix("")
    left.mkdir()
    (left / "journal.json").write_text("{}")
    store.pull(model, variant, settings)
    assert not left.exists()


def test_a_changed_source_is_pulled_again(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    store.pull(model, variant, settings)
    hub.repos["acme/other"] = {"other.gguf": b"GGUF other"}
    other = variant.model_copy(update={"source": HuggingFaceSource(repo="acme/other", files=("other.gguf",))})
    assert store.manifest(model, other) is not None
    assert store.path(store.pull(model, other, settings)).read_bytes() == b"GGUF other"


def test_a_source_that_moved_is_not_pulled_again_if_the_bytes_are_promised(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    promised = variant.model_copy(update={"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)})
    first = store.pull(model, promised, settings)
    moved = promised.model_copy(update={"source": HuggingFaceSource(repo="gone/away", files=("tiny.gguf",))})
    assert store.pull(model, moved, settings) == first


def test_a_model_whose_blob_is_gone_is_not_pulled(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    store.pull(model, variant, settings)
    files_of(store.home, "blobs")[0].unlink()
    assert store.manifest(model, variant) is None
    assert store.installed() == []
    assert store.path(store.pull(model, variant, settings)).read_bytes() == WEIGHTS


def test_a_manifest_that_cannot_be_read_counts_as_absent(
    store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    manifest = store.pull(model, variant, settings)
    files_of(store.home, "manifests")[0].write_text('{"model":')
    assert store.manifest(model, variant) is None
    assert store.pull(model, variant, settings).files == manifest.files


def test_a_manifest_of_a_later_cupola_is_read(
    store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    manifest = store.pull(model, variant, settings)
    path = files_of(store.home, "manifests")[0]
    path.write_text(path.read_text().replace("{", '{"from_the_future": 1,', 1))
    assert store.manifest(model, variant) == manifest


def test_damage_on_the_disk_is_found(store: Store, settings: Settings, model: ModelSpec, variant: Variant) -> None:
    manifest = store.pull(model, variant, settings)
    blob = files_of(store.home, "blobs")[0]
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0")
    with pytest.raises(HashMismatch, match=r"cupola rm tiny@gguf-q4 && cupola pull tiny@gguf-q4"):
        store.verify(manifest)


def test_removing_frees_what_nobody_else_uses(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    twin = make_model(variant, name="twin")
    source = HuggingFaceSource(repo=REPO, files=("tiny.gguf", "config.json"))
    both = make_model(Variant(name="both", format="onnx", source=source), name="both")
    models = (model, twin, both)
    manifests = [store.pull(one, one.variants[0], settings) for one in models]
    assert len(files_of(store.home, "blobs")) == 2
    assert hub.bodies("/tiny.gguf") == len(WEIGHTS)  # three models, one download

    assert store.remove(model, variant) == 0
    assert store.remove(both, both.variants[0]) == len(hub.repos[REPO]["config.json"])
    assert store.path(manifests[1]).read_bytes() == WEIGHTS
    assert [manifest.model for manifest in store.installed()] == ["twin"]
    assert store.remove(twin, variant) == len(WEIGHTS)
    assert files_of(store.home, "blobs") == files_of(store.home, "views") == files_of(store.home, "manifests") == []


def test_a_blob_that_goes_while_it_is_counted_on_is_fetched_after_all(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    store.pull(model, variant, settings)
    source = HuggingFaceSource(repo=REPO, files=("tiny.gguf", "config.json"))
    other = make_model(Variant(name="both", format="onnx", source=source), name="other")

    def remove_the_other(progress: Progress) -> None:
        if progress.file == "config.json" and store.manifest(model, variant):
            store.remove(model, variant)

    manifest = store.pull(other, other.variants[0], settings, remove_the_other)
    assert store.manifest(model, variant) is None
    assert (store.path(manifest) / "tiny.gguf").read_bytes() == WEIGHTS


@pytest.mark.parametrize("promised", [True, False])
def test_a_damaged_blob_is_replaced_by_the_next_pull(
    store: Store, settings: Settings, tmp_path: Path, promised: bool
) -> None:
    """Cut short by a failing disk: its name says what it was, and nothing may believe that."""
    (tmp_path / "own.gguf").write_bytes(WEIGHTS)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest() if promised else None
    source = FileSource(path=str(tmp_path / "own.gguf"))
    one = make_model(Variant(name="v", format="gguf", source=source, sha256=sha256))
    store.pull(one, one.variants[0], settings)
    blob = files_of(store.home, "blobs")[0]
    blob.chmod(0o600)
    blob.write_bytes(b"oops")
    assert store.manifest(one, one.variants[0]) is None
    manifest = store.pull(one, one.variants[0], settings)
    assert manifest.size == len(WEIGHTS)
    assert store.path(manifest).read_bytes() == WEIGHTS
    store.verify(manifest)


def test_a_promise_about_one_file_is_not_dropped_for_several(hub: Hub, store: Store, settings: Settings) -> None:
    source = HuggingFaceSource(repo=REPO, files=("tiny.gguf", "config.json"))
    both = make_model(Variant(name="both", format="onnx", source=source, sha256="0" * 64))
    with pytest.raises(HashMismatch, match="one file, and the source has 2"):
        store.pull(both, both.variants[0], settings)


def test_nothing_is_left_of_a_model_whose_source_changed(hub: Hub, store: Store, settings: Settings) -> None:
    first = make_model(Variant(name="v", format="gguf", source=HuggingFaceSource(repo=REPO, files=("tiny.gguf",))))
    second = make_model(Variant(name="v", format="gguf", source=HuggingFaceSource(repo=REPO, files=("config.json",))))
    for model in (first, second):
        manifest = store.pull(model, model.variants[0], settings)
    assert [path.name for path in files_of(store.home, "blobs")] == [f"sha256-{manifest.files[0].sha256}"]
    assert [path.name for path in files_of(store.home, "views")] == ["config.json"]


def test_a_model_that_lost_a_file_can_be_removed(hub: Hub, store: Store, settings: Settings) -> None:
    source = HuggingFaceSource(repo=REPO, files=("tiny.gguf", "config.json"))
    both = make_model(Variant(name="both", format="onnx", source=source))
    store.pull(both, both.variants[0], settings)
    max(files_of(store.home, "blobs"), key=lambda path: path.stat().st_size).unlink()
    assert store.manifest(both, both.variants[0]) is None
    assert store.recorded(both, both.variants[0])
    store.remove(both, both.variants[0])
    assert files_of(store.home, "blobs") == files_of(store.home, "views") == files_of(store.home, "manifests") == []


def test_a_fake_needs_no_files(store: Store, settings: Settings) -> None:
    model = make_model(Variant(name="weightless", format="fake"))
    manifest = store.pull(model, model.variants[0], settings)
    assert manifest.files == ()
    assert isinstance(store.manifest(model, model.variants[0]), Manifest)
    assert not store.path(manifest).exists()
    assert not store.home.exists()


def test_a_local_file_is_copied(tmp_path: Path, store: Store, settings: Settings) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WEIGHTS)
    model = local_model(mine)
    manifest = store.pull(model, model.variants[0], settings)
    mine.write_bytes(b"edited")
    assert os.access(mine, os.W_OK)
    assert store.path(manifest).read_bytes() == WEIGHTS


def test_a_local_folder_is_copied_with_its_names(tmp_path: Path, store: Store, settings: Settings) -> None:
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "genai_config.json").write_text("{}")
    (folder / "deep" / "model.onnx.data").write_bytes(WEIGHTS)
    (folder / "empty").touch()
    model = local_model(folder, form="onnx")
    path = store.path(store.pull(model, model.variants[0], settings))
    assert (path / "genai_config.json").read_text() == "{}"
    assert (path / "deep" / "model.onnx.data").read_bytes() == WEIGHTS
    assert (path / "empty").read_bytes() == b""


def test_what_an_interrupted_pull_left_can_be_discarded(
    hub: Hub, store: Store, settings: Settings, model: ModelSpec, variant: Variant
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull(model, variant, settings, stop)
    assert store.discard_partial(model, variant) > 500_000
    assert store.discard_partial(model, variant) == 0
    hub.reset()
    store.pull(model, variant, settings)
    assert hub.bodies("/tiny.gguf") == len(WEIGHTS)


@pytest.mark.real
def test_the_default_model_is_the_promised_file(real_home: Path) -> None:
    from server.models.registry import Registry

    registry, store = Registry.load(), Store(real_home)
    model, variants = registry.resolve(registry.default)
    manifest = store.manifest(model, variants[0])
    assert manifest is not None
    assert manifest.files[0].sha256 == variants[0].sha256
    with store.path(manifest).open("rb") as file:
        assert file.read(4) == b"GGUF"


def test_a_manifest_of_another_variant_counts_as_none(store: Store, model: ModelSpec, settings: Settings) -> None:
    variant = model.variants[0]
    store.pull(model, variant, settings)
    path = store.home / "manifests" / model.name / f"{variant.name}.json"
    path.write_text(path.read_text().replace(f'"variant": "{variant.name}"', '"variant": "other"'))
    assert store.manifest(model, variant) is None
