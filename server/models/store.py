"""The store: artifacts by content, under `$CUPOLA_HOME`.

    blobs/sha256-<hex>                 files, read-only, each verified before it got this name
    manifests/<model>/<variant>.json   what was pulled; written last, so a manifest means the artifact is whole
    views/<model>/<variant>/<digest>/  the same files under their real names, for engines, which want those
    partial/<key>/                     a pull in progress, resumed by the next one; <key>.lock is its owner's

Any number of processes may use a store at once.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import HashMismatch, StorageFailed
from ..settings import Settings
from .assembly import Assembly, as_promised
from .conversion import make
from .download import Download, verified
from .files import (
    delete,
    delete_tree,
    has_size,
    is_held,
    place,
    private_folder,
    publish,
    storage_errors,
    tree_size,
    write_atomically,
)
from .journal import Journal
from .lineage import StoredFile, of_files
from .manifest import Derivation, Manifest, make_manifest, read_manifest
from .patience import Patience
from .progress import Progress, Report, ignore
from .sources import connect
from .spec import REVISIONS, DerivedSource, ModelSpec, Variant

_TRIES = 3  # of a pull whose blobs another process deletes
_POLL = 0.2  # seconds between two looks at another process's download


class Store:
    """Pulled artifacts of one home folder."""

    def __init__(self, home: Path, patience: Patience = Patience()) -> None:
        """Creates nothing: a folder appears when the first file is pulled."""
        self.home = home
        self._patience = patience

    def manifest(self, model: ModelSpec, variant: Variant) -> Manifest | None:
        """What was pulled for this variant; None if nothing was, or if a file of it is gone. Fakes need no files."""
        if variant.source is None:
            return make_manifest(model, variant)
        found = read_manifest(self._manifest_path(model.name, variant.name))
        return found if found is not None and self._whole(found) else None

    def installed(self) -> list[Manifest]:
        """Everything that was pulled and is whole, by name."""
        return [manifest for manifest in self.records() if self._whole(manifest)]

    def records(self) -> list[Manifest]:
        """Every pull that ended here, by name, though files of it may be damaged or gone since."""
        return [found for found in map(read_manifest, sorted((self.home / "manifests").glob("*/*.json"))) if found]

    def path(self, manifest: Manifest) -> Path:
        """What an engine opens, under its real name: a folder of files, else a file (the first of a split model).

        A fake without files names a folder that does not exist.
        """
        view = self.home / "views" / manifest.model / manifest.variant / manifest.digest[:16]
        with storage_errors(self.home):
            for file in manifest.files:
                if not (view / file.name).exists():
                    place(self._blob(file.sha256), view / file.name)
        is_folder = manifest.format in {"onnx", "safetensors"} or not manifest.files
        return view if is_folder else view / min(file.name for file in manifest.files)

    def verify(self, manifest: Manifest, progress: Report = ignore) -> None:
        """Read every file again. Raises HashMismatch for one that has changed since it was pulled, or is gone."""
        name = f"{manifest.model}@{manifest.variant}"
        mend = f"run: cupola rm {name} && cupola pull {name}"
        for file in manifest.files:
            try:
                verified(self._blob(file.sha256), file.name, file.sha256, progress)
            except HashMismatch:
                raise HashMismatch(f"{file.name} of {name} is damaged on this disk; {mend}") from None
            except FileNotFoundError:
                raise HashMismatch(f"{file.name} of {name} is gone from this disk; {mend}") from None

    def pull(self, model: ModelSpec, variant: Variant, settings: Settings, progress: Report = ignore) -> Manifest:
        """Bring a variant into the store, or return at once if it is there as models.yaml describes it.

        Resumes what an earlier pull left; waits for another process that is at it. A derived variant is made here, once
        the one it is made from was pulled. Raises SourceError and its kinds, and ConversionFailed.
        """
        if variant.source is None:
            return make_manifest(model, variant)
        if present := self._current(model, variant):
            self.discard_partial(model, variant)  # of a process that was killed right after it wrote the manifest
            return present
        origin = model.origin(variant)
        base = self.pull(model, origin, settings, progress) if origin else None
        with storage_errors(self.home):
            partial = private_folder(self._partial(model, variant))
            private_folder(self.home / "blobs")
            with self._owning(partial, model.variant_id(variant), variant.size, progress):
                manifest = self._current(model, variant)
                if manifest is None and base is not None:
                    manifest = self._make(model, variant, base, partial, progress)
                elif manifest is None:
                    manifest = self._fetch(model, variant, settings, partial, progress)
                delete_tree(partial)
                delete_tree(self.home / "views" / model.name / variant.name)  # of another or a damaged artifact
                self.path(manifest)
            with self._changing():
                self._sweep()
        return manifest

    def recorded(self, model: ModelSpec, variant: Variant) -> bool:
        """Whether a pull of this variant ended here once, though files of it may be gone since."""
        return self._manifest_path(model.name, variant.name).exists()

    def remove(self, model: ModelSpec, variant: Variant) -> int:
        """Delete a pulled variant and every blob that nothing else uses. Returns the bytes freed."""
        if not self.home.is_dir():
            return 0
        with storage_errors(self.home), self._changing():
            delete(self._manifest_path(model.name, variant.name))
            delete_tree(self.home / "views" / model.name / variant.name)
            return self._sweep()

    def discard_partial(self, model: ModelSpec, variant: Variant) -> int:
        """Delete what an unfinished pull left, unless a process is at it. Returns the bytes freed."""
        partial = self._partial(model, variant)
        if not partial.is_dir():
            return 0
        with storage_errors(self.home):
            try:
                with FileLock(f"{partial}.lock", timeout=0):
                    freed = tree_size(partial)
                    delete_tree(partial)
            except Timeout:
                return 0
            with self._changing():
                return freed + self._sweep()

    def adopt(self, manifests: Collection[Manifest], folder: Path) -> None:
        """Take in artifacts whose files lie in a folder, each under its hash and verified. The manifests come last."""
        private_folder(self.home / "blobs")
        for file in (file for manifest in manifests for file in manifest.files):
            if (folder / file.sha256).exists():  # two artifacts may share a file
                publish(folder / file.sha256, self._blob(file.sha256))
        for manifest in manifests:
            with self._changing():
                self._record(manifest)
            delete_tree(self.home / "views" / manifest.model / manifest.variant)  # of another artifact
            self.path(manifest)

    def _sweep(self) -> int:
        """Delete blobs that no manifest names, unless a pull is under way somewhere. Returns the bytes freed.

        What a pull left that failed or was killed keeps nothing: its blobs are fetched again.

        The blobs are listed first: one that a pull brings later is not among them, and one that it brought before is
        named by its manifest by the time its partial folder is gone. A pull that finds a blob gone fetches it again.
        """
        blobs = list((self.home / "blobs").glob("sha256-*"))
        if any(path.is_dir() and is_held(path) for path in (self.home / "partial").glob("*")):
            return 0
        used = {self._blob(file.sha256) for manifest in self.records() for file in manifest.files}
        unused = [blob for blob in blobs if blob not in used]
        freed = sum(blob.stat().st_size for blob in unused)
        for blob in unused:
            delete(blob)
        return freed

    def _current(self, model: ModelSpec, variant: Variant) -> Manifest | None:
        """The manifest, if it is of the artifact that models.yaml describes now."""
        manifest = self.manifest(model, variant)
        if manifest is None:
            return None
        if manifest.source == variant.source:
            return manifest if self._from_current_origin(model, variant, manifest) else None
        promised = variant.sha256 is not None and [file.sha256 for file in manifest.files] == [variant.sha256]
        return manifest if promised else None

    def _from_current_origin(self, model: ModelSpec, variant: Variant, manifest: Manifest) -> bool:
        """Whether a derived artifact was made by the converter as it is, from what its origin is now.

        Where the origin is gone, what was made of it stays.
        """
        origin, made = model.origin(variant), manifest.derivation
        if origin is None or not isinstance(variant.source, DerivedSource):
            return True
        if made is None or made.revision != REVISIONS[variant.source.converter]:
            return False
        base = self._current(model, origin)
        return self.manifest(model, origin) is None or (base is not None and made.digest == base.digest)

    def _make(self, model: ModelSpec, variant: Variant, base: Manifest, partial: Path, progress: Report) -> Manifest:
        """Convert into the partial folder, then move file by file into the blobs; the manifest comes last."""
        assert isinstance(variant.source, DerivedSource)
        delete_tree(partial / "made")  # by a process that was killed
        made = make(variant.source, self.path(base), partial / "made", base, progress)
        files = tuple(self._keep(path, name, progress) for name, path in made.files)
        derivation = Derivation(
            origin=base.variant,
            digest=base.digest,
            revision=REVISIONS[variant.source.converter],
            rounded=made.rounded,
            tensors=made.tensors,
            notes=made.notes,
        )
        manifest = make_manifest(model, variant, files, derivation=derivation, quality=made.quality, record=made.record)
        with self._changing():
            self._record(manifest)
        return manifest

    def _keep(self, path: Path, name: str, progress: Report) -> StoredFile:
        """Move one file into the blobs, under its hash."""
        size = path.stat().st_size
        digest = verified(path, name, None, progress)
        publish(path, self._blob(digest))
        return StoredFile(name=name, size=size, sha256=digest)

    def _record(self, manifest: Manifest) -> None:
        path = self._manifest_path(manifest.model, manifest.variant)
        private_folder(path.parent)
        write_atomically(path, manifest.model_dump_json(indent=1))

    def _fetch(
        self, model: ModelSpec, variant: Variant, settings: Settings, partial: Path, progress: Report
    ) -> Manifest:
        journal = Journal(partial)
        with connect(variant, settings, self._patience) as origin:
            listing = origin.list_files()
            files = as_promised(listing.files, variant.size, variant.sha256)
            assembly = Assembly(Download(origin, journal, progress, self._patience), journal, self._blob, progress)
            for _ in range(_TRIES):
                stored = assembly.bring(files)
                manifest = make_manifest(
                    model, variant, stored, listing.commit, record=of_files(listing.record, stored)
                )
                with self._changing():
                    # A blob that was here before may have gone with another model meanwhile: then fetch it after all.
                    if self._whole(manifest):
                        self._record(manifest)
                        return manifest
        raise StorageFailed(f"Files keep disappearing from {self.home / 'blobs'}; is another process deleting them?")

    @contextmanager
    def _owning(self, partial: Path, label: str, total: int | None, progress: Report) -> Iterator[None]:
        """Hold the lock of a pull; show how the download grows while another process does. A dead one holds none."""
        lock = FileLock(f"{partial}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_POLL)
            except Timeout:
                progress(Progress(label, tree_size(partial), total, "waiting"))
        try:
            private_folder(partial)  # the owner we waited for removed it
            yield
        finally:
            lock.release()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock under which manifests appear and blobs disappear. Short: nothing is fetched meanwhile."""
        private_folder(self.home)
        with FileLock(self.home / "store.lock"):
            yield

    def _whole(self, manifest: Manifest) -> bool:
        return all(has_size(self._blob(file.sha256), file.size) for file in manifest.files)

    def _blob(self, sha: str) -> Path:
        return self.home / "blobs" / f"sha256-{sha}"

    def _manifest_path(self, model: str, variant: str) -> Path:
        return self.home / "manifests" / model / f"{variant}.json"

    def _partial(self, model: ModelSpec, variant: Variant) -> Path:
        """Where a source is fetched to: by its content, so that two names for one source share a download.

        What is made here says its origin by a name inside the model, so there the model counts too.
        """
        content = variant.source.model_dump_json() if variant.source else ""
        owner = model.name if isinstance(variant.source, DerivedSource) else ""
        return self.home / "partial" / sha256(f"{owner}{content}".encode()).hexdigest()[:16]
