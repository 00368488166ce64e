"""A model that is already on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from ...errors import SourceError, SourceNotFound
from ..files import BLOCK
from ..lineage import RECORD, read_record
from ..spec import FileSource, stays_inside
from .base import ByteStream, Listing, Part, RemoteFile


class FileOrigin:
    """Files are copied, not linked: the user may edit or delete his own, and the store's are read-only."""

    def __init__(self, source: FileSource) -> None:
        self._path = Path(source.path)

    def list_files(self) -> Listing:
        """The file, or every file below the folder. Raises SourceNotFound."""
        folder = self._path if self._path.is_dir() else self._path.parent
        found = (
            [self._path] if self._path.is_file() else sorted(path for path in self._path.rglob("*") if path.is_file())
        )
        if not found:
            raise SourceNotFound(f"{self._path} has no file to take; check the path.")
        root = folder.resolve()
        for path in found if self._path.is_dir() else ():
            if not path.resolve().is_relative_to(root):
                raise SourceError(f"{path} is a link that leads out of the folder; put the file there itself.")
        files = [path for path in found if path != folder / RECORD]
        remote = (*(_remote(path, _name(path, folder)) for path in files), *self._signature())
        return Listing(remote, record=read_record(folder))

    def _signature(self) -> Iterator[RemoteFile]:
        """The signature of a single file: beside it, or its folder's. That of a folder is one of its files."""
        beside = (self._path.with_name(f"{self._path.name}.sig"), self._path.with_name("model.sig"))
        for path in beside if self._path.is_file() else ():
            if path.is_file():
                yield _remote(path, f"{self._path.name}.sig")
                return

    @contextmanager
    def open(self, part: Part, offset: int, etag: str | None) -> Iterator[ByteStream]:
        """See Origin. A file's size and date of change serve as its etag."""
        with open_file(Path(part.url), offset, etag) as stream:
            yield replace(stream, phase="copying")


@contextmanager
def open_file(path: Path, offset: int, etag: str | None) -> Iterator[ByteStream]:
    """Stream a local file. Raises SourceNotFound or SourceError before the first byte."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise SourceNotFound(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; check its permissions.") from None
    with file:
        status = path.stat()
        current = f"{status.st_size}-{status.st_mtime_ns}"
        start = offset if offset <= status.st_size and etag in {None, current} else 0
        file.seek(start)
        yield ByteStream(start, status.st_size, current, _blocks(file, path))


def _blocks(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The rest of a file. Its errors are the source's: the store would take them for its own."""
    try:
        while block := file.read(BLOCK):
            yield block
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


def _name(path: Path, folder: Path) -> str:
    """What the file is called in the artifact. Raises SourceError for a name that not every system can have."""
    name = path.relative_to(folder).as_posix()
    try:
        return stays_inside(name)
    except ValueError as error:
        raise SourceError(f"{str(path)!a} cannot be taken: its name {error}.") from None


def _remote(path: Path, name: str) -> RemoteFile:
    size = path.stat().st_size
    return RemoteFile(name, (Part(str(path), name, size),), size)
