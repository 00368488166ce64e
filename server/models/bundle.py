"""A bundle: a model's artifacts and the wheels that serve them in one tar file, for a device without a network.

    bundle.json                     what is in it: every other file with its size and sha256, in the order of the file
    README.txt                      how to install it with nothing but tar and pip
    wheels/*.whl                    Cupola and what it needs
    signatures/<model>/<variant>.sig
    blobs/sha256-<hex>              the files of the artifacts

`tar` reads it. We do not let a library unpack it: of the format's features exactly one is accepted, a plain file whose
name is listed. So nothing of a hostile file leaves its folder, is a link, or grows: it has the size that is listed.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal, Self

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ..errors import HashMismatch, InvalidValue, Unavailable
from .files import BLOCK, delete_tree, hash_file, private_folder, require_space, storage_errors
from .manifest import Manifest
from .progress import Phase, Progress, Report, ignore
from .spec import ModelSpec, Sha256

INDEX = "bundle.json"
MOST_INDEX_BYTES = 16 << 20
MOST_PADDING = 1 << 20  # after the last file; tar fills up to 10 kB
_WORD = r"[a-z0-9][a-z0-9._-]*"
_WHEEL = r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,95}"  # with .whl as long as a name in a header may be
_NAME = rf"^(README\.txt|wheels/{_WHEEL}\.whl|signatures/{_WORD}/{_WORD}\.sig|blobs/sha256-[0-9a-f]{{64}})$"
_LARGEST = 8**11  # bytes that it can say in the digits of the standard; GNU's way has no such limit


class BundledFile(BaseModel):
    """One file of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Bundle(BaseModel):
    """What is in a bundle. `spec`: the entry of models.yaml, for a model of the user's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Cupola may have written more

    format: Literal["cupola-bundle-1"] = "cupola-bundle-1"
    cupola_version: str
    created: datetime
    platform: str
    requirement: str
    """What pip is asked to install of the wheels; empty where there are none."""
    spec: ModelSpec | None = None
    manifests: Annotated[tuple[Manifest, ...], Field(min_length=1)]
    files: Annotated[tuple[BundledFile, ...], Field(max_length=1 << 14)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sizes = {file.name: file.size for file in self.files}
        if len(sizes) < len(self.files):
            raise ValueError("a file is listed twice")
        if any(file.name.startswith("blobs/") and file.name != blob_name(file.sha256) for file in self.files):
            raise ValueError("a blob is not called by its hash")
        needed = {blob_name(file.sha256): file.size for manifest in self.manifests for file in manifest.files}
        if self.spec is not None and self.spec.adapters:
            raise ValueError("an entry with adapters names files of another device")
        if any(sizes.get(name) != size for name, size in needed.items()):
            raise ValueError("a file of an artifact is not in it")
        return self

    @property
    def wheels(self) -> tuple[BundledFile, ...]:
        return tuple(file for file in self.files if file.name.startswith("wheels/"))

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Part:
    """A file that goes into a bundle, its name there, and its hash where that is known."""

    name: str
    path: Path
    sha256: str | None = None


def blob_name(sha256: str) -> str:
    return f"blobs/sha256-{sha256}"


def listed(part: Part, report: Report = ignore) -> BundledFile:
    """The entry of a file. Raises InvalidValue where its name has no place in a bundle, StorageFailed if it is gone."""
    with storage_errors(part.path.parent):
        size = part.path.stat().st_size
        told = _counting(report, part.name, size, "verifying")
        sha256 = part.sha256 or hash_file(part.path, hashlib.sha256(), told)
    try:
        return BundledFile(name=part.name, size=size, sha256=sha256)
    except ValidationError:
        raise InvalidValue(f"{part.path.name} cannot be part of a bundle: its name is too long or odd.") from None


def write(target: Path, bundle: Bundle, parts: list[Part], report: Report = ignore) -> None:
    """Write the file, as a whole or not at all. Raises HashMismatch for a part that is not what is listed."""
    draft = target.with_name(f".{target.name}.partial")
    try:
        with storage_errors(target.parent), draft.open("wb") as out:
            index = bundle.model_dump_json(indent=1).encode()
            _add(out, INDEX, io.BytesIO(index), len(index), _deaf, _deaf)
            for part, file in zip(parts, bundle.files, strict=True):
                digest = hashlib.sha256()
                with part.path.open("rb") as source:
                    told = _counting(report, part.name, file.size, "copying")
                    _add(out, part.name, source, file.size, digest.update, told)
                if digest.hexdigest() != file.sha256:
                    raise HashMismatch(f"{part.path} is damaged or changed meanwhile; see: cupola verify")
            out.write(bytes(2 * tarfile.BLOCKSIZE))
        with storage_errors(target.parent):
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _add(
    out: IO[bytes],
    name: str,
    source: IO[bytes],
    size: int,
    hear: Callable[[bytes], object],
    told: Callable[[int], None],
) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    out.write(info.tobuf(tarfile.USTAR_FORMAT if size < _LARGEST else tarfile.GNU_FORMAT))
    for block in _copied(source, hear, size, told):
        out.write(block)
    out.write(bytes(-size % tarfile.BLOCKSIZE))


def _copied(
    source: IO[bytes], hear: Callable[[bytes], object], size: int, told: Callable[[int], None]
) -> Iterator[bytes]:
    """Exactly `size` bytes, in blocks. Raises InvalidValue where there are fewer."""
    done = 0
    while done < size:
        block = source.read(min(BLOCK, size - done))
        if not block:
            raise InvalidValue(f"{getattr(source, 'name', 'The file')} ends too early; copy or make it again.")
        hear(block)
        done += len(block)
        told(done)
        yield block


def _deaf(_: object) -> None:
    """For what is neither hashed nor shown."""


def _counting(report: Report, name: str, size: int, phase: Phase) -> Callable[[int], None]:
    return lambda done: report(Progress(name, done, size, phase))


@contextmanager
def opened(archive: Path) -> Iterator[tuple[Bundle, IO[bytes]]]:
    """A bundle and the file after its index. Raises InvalidValue for what is none."""
    if not archive.is_file():
        raise InvalidValue(f"{archive} does not exist.")
    with storage_errors(archive.parent), archive.open("rb") as file:
        size = _header(file, archive, INDEX)
        if size > MOST_INDEX_BYTES:
            raise InvalidValue(f"{archive} is no bundle: its list of files is too long.")
        text = b"".join(_copied(file, _deaf, size, _deaf))
        _end_block(file, archive, size)
        try:
            bundle = Bundle.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            wrong = ".".join(map(str, first["loc"])) or INDEX
            raise InvalidValue(f"{archive} is no bundle that can be read here: {wrong}: {first['msg']}.") from None
        yield bundle, file


def _header(file: IO[bytes], archive: Path, name: str) -> int:
    """The size of the plain file that comes next, if it has this name. Everything else is refused."""
    block = file.read(tarfile.BLOCKSIZE)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError):
        raise InvalidValue(f"{archive} is no bundle, or damaged, where {name} should be.") from None
    if info.type != tarfile.REGTYPE or info.name != name or info.size < 0:
        raise InvalidValue(f"{archive} is no bundle: it has {info.name[:100]!r} where {name} should be; not unpacked.")
    return info.size


def _end_block(file: IO[bytes], archive: Path, size: int) -> None:
    """Read the zeros that fill the last block of a file."""
    count = -size % tarfile.BLOCKSIZE
    if file.read(count) != bytes(count):
        raise InvalidValue(f"{archive} is damaged; copy it again. Nothing was installed.")


def unpack(archive: Path, folder: Path, report: Report = ignore) -> Bundle:
    """Verify every byte and write the files into an empty folder, flat: blobs by their hash, others by their name.

    Raises InvalidValue for what is no bundle or a hostile one, HashMismatch for a damaged one, StorageFull.
    """
    with opened(archive) as (bundle, file):
        require_space(folder, bundle.size)
        for entry in bundle.files:
            if _header(file, archive, entry.name) != entry.size:
                raise InvalidValue(f"{archive} is no bundle: {entry.name} has another size than is listed.")
            digest = hashlib.sha256()
            with (folder / flat_name(entry.name)).open("xb") as out:
                told = _counting(report, entry.name, entry.size, "verifying")
                for block in _copied(file, digest.update, entry.size, told):
                    out.write(block)
            _end_block(file, archive, entry.size)
            if digest.hexdigest() != entry.sha256:
                raise HashMismatch(f"{entry.name} of {archive} is damaged; copy it again. Nothing was installed.")
        rest = file.read(MOST_PADDING + 1)
        if any(rest) or not 2 * tarfile.BLOCKSIZE <= len(rest) <= MOST_PADDING:
            raise InvalidValue(f"{archive} is no bundle: it does not end after its last file. Nothing was installed.")
    return bundle


def flat_name(name: str) -> str:
    """What a file of a bundle is called where it is unpacked."""
    return name.removeprefix("blobs/sha256-").replace("/", "--")


@contextmanager
def unpacked(archive: Path, home: Path, report: Report = ignore) -> Iterator[tuple[Bundle, Path]]:
    """The verified files of a bundle in a folder of the store, which nobody else touches and which goes afterwards."""
    with storage_errors(home):
        partial = private_folder(home / "partial" / "bundle")
    lock = FileLock(f"{partial}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise Unavailable(f"Another process installs a bundle into {home}; try again when it has ended.") from None
    try:
        with storage_errors(home):
            delete_tree(partial)  # of a process that was killed
            private_folder(partial)
            yield unpack(archive, partial, report), partial
    finally:
        delete_tree(partial)
        lock.release()
