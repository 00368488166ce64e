"""What a network, a server and a disk do to a pull."""

import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from server.errors import (
    HashMismatch,
    SourceError,
    SourceNotFound,
    SourceUnreachable,
    StorageFailed,
    StorageFull,
)
from server.models.files import storage_errors
from server.models.progress import Progress
from server.models.spec import FileSource, HuggingFaceSource, ModelSpec, Variant
from server.models.store import Store
from server.settings import Settings

from .conftest import IMPATIENT, REPO, WEIGHTS, make_model
from .hub import Faults, Hub

HALF = len(WEIGHTS) // 2


class Pull:
    """A pull of the tiny model that can be interrupted."""

    def __init__(self, hub: Hub, store: Store, settings: Settings, model: ModelSpec) -> None:
        self.hub, self.store, self.settings, self.model = hub, store, settings, model
        self.variant = model.variants[0]

    def run(self) -> bytes:
        return self.store.path(self.store.pull(self.model, self.variant, self.settings)).read_bytes()

    def run_to_half(self) -> int:
        """Stop in the middle; returns what is kept."""

        def stop(progress: Progress) -> None:
            if progress.done >= HALF:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.store.pull(self.model, self.variant, self.settings, stop)
        self.hub.reset()
        return self.partial().stat().st_size

    def partial(self) -> Path:
        return next(self.store.home.glob("partial/*/*.part"))

    def served(self) -> int:
        return self.hub.bodies("/tiny.gguf")

    def nothing_is_final(self) -> bool:
        return not any(self.store.home.glob("blobs/*")) and self.store.installed() == []


@pytest.fixture
def pull(hub: Hub, store: Store, settings: Settings, model: ModelSpec) -> Pull:
    return Pull(hub, store, settings, model)


def test_an_interrupted_pull_goes_on_where_it_was(pull: Pull) -> None:
    kept = pull.run_to_half()
    assert kept >= HALF - (1 << 17)
    assert pull.nothing_is_final()
    assert pull.run() == WEIGHTS
    assert pull.served() == len(WEIGHTS) - kept


def test_a_broken_connection_is_taken_up_again(pull: Pull) -> None:
    pull.hub.faults = Faults(cut_after=200_000)
    assert pull.run() == WEIGHTS
    assert pull.served() == len(WEIGHTS)
    assert len(pull.hub.requests("/tiny.gguf", "cdn")) == 8


def test_a_server_without_ranges_is_asked_for_everything(pull: Pull) -> None:
    pull.run_to_half()
    pull.hub.faults = Faults(ignore_range=True)
    assert pull.run() == WEIGHTS
    assert pull.served() == len(WEIGHTS)


def test_a_server_that_sends_another_range_is_asked_for_everything(pull: Pull) -> None:
    pull.run_to_half()
    pull.hub.faults = Faults(wrong_range=True)
    assert pull.run() == WEIGHTS


def test_a_partial_file_that_was_damaged_costs_a_second_download(pull: Pull) -> None:
    pull.run_to_half()
    with pull.partial().open("r+b") as file:
        file.write(b"damage")
    assert pull.run() == WEIGHTS


def test_a_partial_file_that_is_too_long_is_dropped(pull: Pull) -> None:
    pull.run_to_half()
    with pull.partial().open("ab") as file:
        file.write(WEIGHTS)
    assert pull.run() == WEIGHTS


def test_a_partial_file_without_its_journal_is_dropped(pull: Pull) -> None:
    pull.run_to_half()
    (pull.partial().parent / "journal.json").write_text("{")
    assert pull.run() == WEIGHTS
    assert pull.served() == len(WEIGHTS)


def test_a_file_that_changed_meanwhile_is_fetched_anew(pull: Pull) -> None:
    pull.run_to_half()
    changed = bytes(reversed(WEIGHTS))
    pull.hub.repos[REPO]["tiny.gguf"] = changed
    assert pull.run() == changed
    assert pull.served() == len(changed)  # nothing was first joined to the old beginning


def test_without_a_hash_the_etag_decides(hub: Hub, pull: Pull, tmp_path: Path) -> None:
    """Sources of plain files know no hash: a changed file must not be joined to the old one's beginning."""
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WEIGHTS)
    model = make_model(Variant(name="v", format="gguf", source=FileSource(path=str(mine))))
    local = Pull(hub, pull.store, pull.settings, model)
    local.run_to_half()
    mine.write_bytes(bytes(reversed(WEIGHTS)))
    assert local.run() == bytes(reversed(WEIGHTS))


@pytest.mark.parametrize("faults", [Faults(corrupt=True), Faults(longer=True), Faults(longer=True, no_length=True)])
def test_wrong_bytes_are_refused_and_not_kept(pull: Pull, faults: Faults) -> None:
    pull.hub.faults = faults
    with pytest.raises(HashMismatch, match=r"tiny\.gguf"):
        pull.run()
    assert pull.nothing_is_final()
    assert list(pull.store.home.glob("partial/*/*.part")) == []
    pull.hub.faults = Faults()
    assert pull.run() == WEIGHTS


def test_a_body_without_a_length_that_ends_early_is_taken_up_again(pull: Pull) -> None:
    pull.hub.faults = Faults(no_length=True, cut_after=400_000, cuts=2)
    assert pull.run() == WEIGHTS


def test_small_files_are_checked_by_their_git_hash(hub: Hub, store: Store, settings: Settings) -> None:
    source = HuggingFaceSource(repo=REPO, files=("config.json",))
    model = make_model(Variant(name="v", format="onnx", source=source))
    hub.faults = Faults(corrupt=True)
    with pytest.raises(HashMismatch, match=r"config\.json"):
        store.pull(model, model.variants[0], settings)
    hub.faults = Faults()
    store.pull(model, model.variants[0], settings)


def test_a_hub_that_no_longer_has_the_promised_file(
    hub: Hub, store: Store, settings: Settings, variant: Variant
) -> None:
    promised = variant.model_copy(update={"sha256": hashlib.sha256(b"else").hexdigest(), "size": 4})
    with pytest.raises(HashMismatch, match="no longer the file"):
        store.pull(make_model(promised), promised, settings)
    assert hub.bodies("/tiny.gguf") == 0


def test_a_busy_server_is_asked_again(pull: Pull) -> None:
    pull.hub.faults = Faults(statuses=[503, 429])
    assert pull.run() == WEIGHTS


def test_a_server_that_stays_busy_is_given_up(pull: Pull) -> None:
    pull.hub.faults = Faults(statuses=[503] * 9)
    with pytest.raises(SourceUnreachable, match="try later"):
        pull.run()
    assert len(pull.hub.faults.statuses) == 9 - IMPATIENT.attempts


def test_a_lost_network_keeps_what_has_arrived(pull: Pull) -> None:
    pull.hub.faults = Faults(cut_after=400_000)

    def lose(progress: Progress) -> None:
        pull.hub.faults = Faults(cut_after=0)

    with pytest.raises(SourceUnreachable, match=r"run (the command )?again"):
        pull.store.pull(pull.model, pull.variant, pull.settings, lose)
    assert pull.nothing_is_final()
    pull.hub.faults = Faults()
    pull.hub.reset()
    assert pull.run() == WEIGHTS
    assert pull.served() == len(WEIGHTS) - 400_000


def test_no_server_at_all(store: Store, model: ModelSpec, variant: Variant, home: Path) -> None:
    settings = Settings(home=home, hf_endpoint="http://127.0.0.1:9", offline=False, hf_token=None)
    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        store.pull(model, variant, settings)


def test_offline_mode_opens_no_connection(
    hub: Hub, store: Store, model: ModelSpec, variant: Variant, settings: Settings
) -> None:
    with pytest.raises(SourceUnreachable, match="Offline mode is on"):
        store.pull(model, variant, settings.model_copy(update={"offline": True}))
    assert hub.seen == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"repo": "acme/nothing", "files": ["a.gguf"]}, "acme/nothing does not exist"),
        ({"repo": REPO, "files": ["big.gguf"]}, r"has no file 'big.gguf'; it has config.json, .*tiny.gguf"),
        ({"repo": REPO, "files": ["tiny.gguf"], "revision": "v9"}, "has no revision 'v9'"),
    ],
)
def test_what_does_not_exist(store: Store, settings: Settings, source: dict[str, Any], complaint: str) -> None:
    variant = Variant(name="v", format="gguf", source=HuggingFaceSource.model_validate(source))
    with pytest.raises(SourceNotFound, match=complaint):
        store.pull(make_model(variant), variant, settings)


def test_a_gated_repository_says_what_to_do(pull: Pull) -> None:
    pull.hub.gated.add(REPO)
    with pytest.raises(SourceError, match="accept its licence"):
        pull.run()


def test_a_hub_that_names_a_file_outside_the_folder_is_not_believed(pull: Pull) -> None:
    pull.hub.repos[REPO]["../../evil.gguf"] = b"x"
    with pytest.raises(SourceError, match="does not answer like a hub"):
        pull.run()


def test_the_token_reaches_the_hub_and_nobody_else(pull: Pull) -> None:
    pull.hub.token = "hf_secret"
    pull.settings = Settings(home=pull.store.home, hf_endpoint=pull.hub.url, offline=False, hf_token="hf_secret")
    assert pull.run() == WEIGHTS
    asked = [seen.headers.get("authorization") for seen in pull.hub.seen if seen.server == "hub"]
    assert set(asked) == {"Bearer hf_secret"}
    elsewhere = [seen.headers for seen in pull.hub.seen if seen.server == "cdn"]
    assert elsewhere
    assert all("authorization" not in headers for headers in elsewhere)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, where the machine lets us make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Use up the space of a small file system but for `leave` bytes."""
    junk = disk / "junk"
    with junk.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > leave:
            file.write(b"\0" * 4096)
    assert shutil.disk_usage(disk).free <= leave
    return junk


def test_a_disk_that_is_too_small_is_seen_before_the_download(
    hub: Hub, model: ModelSpec, variant: Variant, small_disk: Path
) -> None:
    fill(small_disk, leave=len(WEIGHTS) - 100_000)
    store = Store(small_disk / "home", IMPATIENT)
    settings = Settings(home=store.home, hf_endpoint=hub.url, offline=False, hf_token=None)
    begun: list[Progress] = []
    with pytest.raises(StorageFull, match=r"The disk is full .* are needed and .* are free"):
        store.pull(model, variant, settings, begun.append)
    assert begun == []


def test_a_disk_that_fills_up_meanwhile(hub: Hub, model: ModelSpec, variant: Variant, small_disk: Path) -> None:
    store = Store(small_disk / "home", IMPATIENT)
    settings = Settings(home=store.home, hf_endpoint=hub.url, offline=False, hf_token=None)

    def fill_at_half(progress: Progress) -> None:
        if progress.done > HALF:
            fill(small_disk)

    with pytest.raises(StorageFull, match=r"The disk is full .* it resumes"):
        store.pull(model, variant, settings, fill_at_half)
    assert list(small_disk.glob("home/blobs/*")) == []
    (small_disk / "junk").unlink()
    hub.reset()
    assert store.path(store.pull(model, variant, settings)).read_bytes() == WEIGHTS
    assert hub.bodies("/tiny.gguf") < len(WEIGHTS) - HALF + (1 << 17)


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        (errno.ENOSPC, StorageFull, "The disk is full at"),
        (errno.EDQUOT, StorageFull, "The disk is full at"),
        (errno.EFBIG, StorageFull, "A file is larger than"),
        (errno.EACCES, StorageFailed, "Cannot write to"),
        (errno.EROFS, StorageFailed, "Cannot write to"),
        (errno.ENOENT, StorageFailed, "/blob is not there"),
        (errno.EIO, StorageFailed, "/blob cannot be read or written: Input/output error"),
    ],
)
def test_the_error_says_what_the_disk_said(code: int, kind: type[SourceError], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=sentence) as caught, storage_errors(tmp_path):
        raise OSError(code, os.strerror(code), "/blob")
    assert type(caught.value) is kind


def test_a_blob_that_was_deleted_is_named(hub: Hub, model: ModelSpec, variant: Variant, tmp_path: Path) -> None:
    store = Store(tmp_path / "home", IMPATIENT)
    settings = Settings(home=store.home, hf_endpoint=hub.url, offline=False, hf_token=None)
    manifest = store.pull(model, variant, settings)
    (blob,) = [path for path in (store.home / "blobs").rglob("*") if path.is_file()]
    blob.unlink()
    shutil.rmtree(store.home / "views", ignore_errors=True)
    with pytest.raises(StorageFailed, match=f"{blob.name}.* is not there"):
        store.path(manifest)


def test_a_home_that_cannot_be_written(tmp_path: Path, hub: Hub, model: ModelSpec, variant: Variant) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "home", IMPATIENT)
    settings = Settings(home=store.home, hf_endpoint=hub.url, offline=False, hf_token=None)
    with pytest.raises(StorageFailed, match="Cannot write to"):
        store.pull(model, variant, settings)
