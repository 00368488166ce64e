"""A GGUF file as a folder that ONNX Runtime and ONNX Runtime GenAI run, without torch.

    python -m converters gguf-to-onnx MODEL.gguf FOLDER [--precision exact]

The folder appears under its name when it is whole, and not before.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import get_args

import onnx
from filelock import FileLock, Timeout

from server.errors import InvalidValue, StorageFull
from server.models import gguf as reader

from . import genai_folder
from .architectures import describe
from .assembly import Assembly, Report
from .tensors import Tensors
from .weights import Precision, WeightFile

PATIENCE = 10.0  # seconds to wait for another conversion to the same folder


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion made. `rounded` are the names of matrices that are not bit for bit the file's."""

    folder: Path
    parameters: int
    size: int  # bytes of all files
    rounded: tuple[str, ...]
    notes: tuple[str, ...]


def convert(source: Path, folder: Path, precision: Precision = "exact", report: Report = lambda *_: None) -> Outcome:
    """Write `folder`. Raises InvalidValue for a file that cannot be converted or a folder that is there already,
    StorageFull where it cannot be written; nothing is left under the name then.
    """
    if precision not in get_args(Precision):
        raise InvalidValue(f"There is no precision {precision!r}. Known: {', '.join(get_args(Precision))}.")
    found = reader.read(source)
    decoder = describe(found)
    tensors = Tensors(found, decoder)
    with _appearing(folder) as partial:
        report(0.0, "tokenizer")
        genai_folder.write(partial, found, decoder)
        with (partial / "model.onnx.data").open("wb") as data:
            assembly = Assembly(tensors, decoder, precision, WeightFile(partial / "model.onnx.data", data), report)
            assembly.run()
        onnx.save_model(assembly.model(source.stem), str(partial / "model.onnx"))
    report(1.0, "done")
    size = sum(file.stat().st_size for file in folder.iterdir())
    parameters = sum(prod(info.shape) for info in found.tensors.values())
    return Outcome(folder, parameters, size, tuple(assembly.rounded), decoder.notes)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
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
                for path in (*partial.iterdir(), partial):
                    _sync(path)
                partial.rename(folder)
                _sync(folder.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageFull(f"Cannot write {folder}: {reason}; nothing was left there.") from None


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
