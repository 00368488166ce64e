"""A folder or a file that is there whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from server.errors import InvalidValue, StorageFailed, StorageFull
from server.models.files import FULL

SPENT = {*FULL, errno.EFBIG}
PATIENCE = 10.0  # seconds to wait for another conversion to the same folder
GROWTH = 1 << 20  # bytes


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder beside the final one that takes its name when the block ends well, and is gone when it does not.

    Whoever is at it holds its lock, so what a killed run left is known to be nobody's, and the next run clears it.
    Raises InvalidValue where the name is taken, StorageFull and StorageFailed for what the system says in the block.
    """
    with _becoming(folder) as partial:
        partial.mkdir()
        yield partial


@contextmanager
def appearing_file(file: Path) -> Iterator[Path]:
    """As `appearing`, of a file that the block writes."""
    with _becoming(file) as partial:
        yield partial


def require_growth(partial: Path) -> None:
    """Raises the OSError that a library met when it could not write into a folder, where it does not say so itself.

    What is there grows, and is spoilt: for a conversion that has failed.
    """
    written = [path for path in partial.rglob("*") if path.is_file() and os.access(path, os.W_OK)]
    for path in [*written, partial / "growth"]:
        with path.open("ab") as file:
            file.write(bytes(GROWTH))
            file.flush()
            os.fsync(file.fileno())
            file.truncate(file.tell() - GROWTH)


@contextmanager
def _becoming(final: Path) -> Iterator[Path]:
    partial = final.with_name(f".{final.name}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with owning(final, "converting to"):
            if final.exists():
                raise InvalidValue(f"{final} exists already; remove it or choose another name.")
            _remove(partial)
            try:
                with _explained(partial):
                    yield partial
                for path in (*partial.rglob("*"), partial):
                    _sync(path)
                partial.rename(final)
                _sync(final.parent)
            finally:
                _remove(partial)
    except OSError as error:
        reason = error.strerror or str(error)
        kind = StorageFull if error.errno in SPENT else StorageFailed
        raise kind(f"Cannot write {final}: {reason}; nothing was left there.") from None


@contextmanager
def _explained(partial: Path) -> Iterator[None]:
    """Errors of a block with their reason. NumPy says how much it wrote, and not why; a source is not the target."""
    try:
        yield
    except OSError as error:
        if error.errno is None and partial.is_dir():
            require_growth(partial)
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else partial
        outside = not named.absolute().is_relative_to(partial.absolute())
        if outside and error.errno not in SPENT:  # a copy that cannot be written has the source's name in it
            raise StorageFailed(f"{named} cannot be read: {error.strerror}; nothing was written.") from None
        raise


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


@contextmanager
def owning(folder: Path, doing: str) -> Iterator[None]:
    """Hold the lock of what is done to `folder`; a process that died holds none. Raises InvalidValue."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=PATIENCE)  # one whose parent was killed is about to end
    except Timeout:
        raise InvalidValue(f"Another process is {doing} {folder}.") from None
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
