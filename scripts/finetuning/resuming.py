"""Where a training goes on after a kill: the last checkpoint that is whole, of the same training."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from converters.appearing import owning
from server.errors import InvalidValue, StorageFull
from server.models.files import storage_errors, write_atomically

from .processes import processes
from .recipe import Recipe

STATE = "trainer_state.json"  # transformers writes it last
RECIPE = "recipe.json"
LEAST_FREE = 16 << 20  # bytes; a write that failed for want of room left less


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """One run at a time in a folder: two would write over each other's checkpoints. Raises InvalidValue."""
    if not processes().is_main_process:
        yield
        return
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with owning(folder, "training in"):
        yield


def claim(folder: Path, recipe: Recipe, base: Path) -> None:
    """Write down what is trained in a folder. Raises InvalidValue where that was something else."""
    folder.mkdir(parents=True, exist_ok=True)
    told = recipe.model_dump(mode="json") | {"data_sha256": digests(recipe.data), "base_sha256": weights(base)}
    path = folder / RECIPE
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        changed = sorted(name for name in told if before.get(name, told[name]) != told[name])
        if changed:
            raise InvalidValue(
                f"{folder} holds a training with another {', '.join(changed)}. Remove it or name another folder."
            )
    write_atomically(path, json.dumps(told, indent=1))


@contextmanager
def saying_full(folder: Path) -> Iterator[None]:
    """A disk that is full while a checkpoint is written, which PyTorch tells in words of its own, in one sentence.

    Raises StorageFull. What was whole before stays, and the training goes on from there.
    """
    try:
        yield
    except (OSError, RuntimeError):
        if shutil.disk_usage(folder).free > LEAST_FREE:
            raise
        raise StorageFull(
            f"The disk is full at {folder}; free some space and run the command again: it goes on from its last whole"
            " checkpoint."
        ) from None


def last_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end; what a kill left half-written is removed."""
    found = sorted(checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if _is_whole(path)]
    if processes().is_main_process:
        for path in set(found) - set(whole):
            shutil.rmtree(path)
    processes().wait_for_everyone()  # who goes on writes into folders of these names
    return whole[-1] if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        TrainerState.load_from_json(str(checkpoint / STATE))
    except (OSError, ValueError, TypeError):
        return False
    return True


def weights(checkpoint: Path) -> str:
    """sha256 of a checkpoint's weights: under its name may be others another time."""
    whole = hashlib.sha256()
    for path in sorted(checkpoint.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def digests(data: Path) -> dict[str, str]:
    """sha256 by name of the files that a training reads."""
    return {
        name: hashlib.sha256((data / name).read_bytes()).hexdigest()
        for name in ("train.jsonl", "validation.jsonl")
        if (data / name).is_file()
    }
