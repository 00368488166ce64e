"""Files that a crash, a full disk or another process must not spoil."""

import errno
import filecmp
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from ..errors import SourceError, StorageFailed, StorageFull

BLOCK = 1 << 20
FULL = {errno.ENOSPC, errno.EDQUOT}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_GONE = {errno.ENOENT, errno.ESTALE}


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Translate what the operating system says about files into one sentence."""
    try:
        yield
    except OSError as error:
        raise _translated(error, folder) from None


def _translated(error: OSError, folder: Path) -> SourceError:
    place, reason = error.filename or folder, error.strerror or str(error)
    if error.errno in FULL:
        return StorageFull(f"The disk is full at {folder}; free some space and run the command again, it resumes.")
    if error.errno == errno.EFBIG:
        return StorageFull(f"A file is larger than the disk at {folder}, or a limit of this process, allows: {reason}.")
    if error.errno in _UNWRITABLE:
        return StorageFailed(f"Cannot write to {folder}: {reason}; check its permissions, or set CUPOLA_HOME.")
    if error.errno in _GONE:
        return StorageFailed(
            f"{place} is not there: {reason}. Was it deleted by another program? Pull the model again."
        )
    return StorageFailed(f"{place} cannot be read or written: {reason}.")


def require_space(folder: Path, wanted: int) -> None:
    """Raises StorageFull before a download starts that cannot end."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise StorageFull(
            f"The disk is full at {folder}: {wanted / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free;"
            " free some space or set CUPOLA_HOME."
        )


def private_folder(path: Path) -> Path:
    """A folder that only its owner may enter, made if it is missing, with its parents."""
    for missing in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    return path


def publish(finished: Path, final: Path) -> None:
    """Give a finished file its final name, read-only, in such a way that it is whole even after a power cut.

    What bears the name already is replaced if it is damaged. If not it stays, since views of other models are links to
    it.
    """
    if final.is_file() and filecmp.cmp(finished, final, shallow=False):
        delete(finished)
        return
    with finished.open("r+b") as file:
        sync(file)
    finished.chmod(0o444)
    if os.name == "nt":
        delete(final)  # Windows does not replace a read-only file
    finished.replace(final)
    _sync_folder(final.parent)


def sync(file: IO[Any]) -> None:
    """Return when what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def write_atomically(path: Path, text: str, *, private: bool = False) -> None:
    """Replace a small text file as a whole or not at all. One writer at a time: the caller holds a lock.

    A private file is its owner's alone from its first byte on.
    """
    draft = path.with_name(f"{path.name}.new")
    try:
        with open(draft, "w", encoding="utf-8", opener=_private if private else None) as file:
            file.write(text)
            sync(file)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags, 0o600)
    if sys.platform != "win32":
        os.fchmod(descriptor, 0o600)  # a draft that a crash has left has the mode that it was made with
    return descriptor


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a folder; its journal orders the rename
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete(path: Path) -> None:
    """Remove a file, also a read-only one, which Windows refuses to remove as it is."""
    if os.name == "nt" and path.exists():
        path.chmod(0o600)
    path.unlink(missing_ok=True)


def delete_tree(folder: Path) -> None:
    """Remove a folder with whatever is in it, if it exists."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            delete(path)
    if folder.is_dir():
        folder.rmdir()


def tree_size(folder: Path) -> int:
    """Bytes below a folder whose files may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def located(path: Path) -> Path:
    """The path from the root. A file that is a link keeps its name: in the hub's cache it leads to one without."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def place(blob: Path, name: Path) -> None:
    """Let `name` be the same file as `blob`: a hard link, else a copy.

    No symbolic link: ONNX Runtime refuses external weights whose real path leaves the model's folder.
    """
    private_folder(name.parent)
    try:
        os.link(blob, name)
    except FileExistsError:
        return
    except OSError:
        draft = name.with_name(f"{name.name}.{os.getpid()}.new")
        shutil.copyfile(blob, draft)
        draft.chmod(0o444)
        draft.replace(name)


def hash_file(path: Path, hasher: "hashlib._Hash", report: Callable[[int], None] = lambda done: None) -> str:
    """Feed a file to a hash and return its hexadecimal digest; `report` gets the bytes read so far."""
    done = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
            done += len(block)
            report(done)
    return hasher.hexdigest()


def is_held(folder: Path) -> bool:
    """Whether a process works in a folder of which it holds the lock, `<folder>.lock`."""
    try:
        with FileLock(f"{folder}.lock", timeout=0):
            return False
    except Timeout:
        return True


def has_size(path: Path, size: int) -> bool:
    """Whether a file is there and so large."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False
