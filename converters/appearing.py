"""A folder that is there whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from server.errors import InvalidValue, StorageFailed, StorageFull
from server.models.files import FULL

PATIENCE = 10.0  # seconds to wait for another conversion to the same folder


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder beside the final one that takes its name when the block ends well, and is gone when it does not.

    Whoever is at it holds its lock, so what a killed run left is known to be nobody's, and the next run clears it.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _owning(folder):
            if folder.exists():
                raise InvalidValue(f"{folder} exists already; remove it or choose another name.")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                partial.mkdir()
                yield partial
                for path in (*partial.rglob("*"), partial):
                    _sync(path)
                partial.rename(folder)
                _sync(folder.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        kind = StorageFull if error.errno in {*FULL, errno.EFBIG} else StorageFailed
        raise kind(f"Cannot write {folder}: {reason}; nothing was left there.") from None


@contextmanager
def _owning(folder: Path) -> Iterator[None]:
    """Hold the lock of a conversion to `folder`; a process that died holds none."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=PATIENCE)  # one whose parent was killed is about to end
    except Timeout:
        raise InvalidValue(f"Another process is converting to {folder}.") from None
    try:
        yield
    finally:
        if os.name == "posix":  # elsewhere releasing removes it; here it has to go while it is held
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk. Windows opens no folders, and orders them."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
