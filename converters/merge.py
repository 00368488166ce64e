"""A PEFT LoRA merged into the checkpoint it was trained on: another checkpoint, which needs no adapter any more.

    python -m converters merge CHECKPOINT ADAPTER FOLDER

Tensor by tensor in NumPy: W + scale * B A in float32, rounded to the type that the checkpoint has.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.errors import ConversionFailed, InvalidValue

from . import manifest, peft_folder, safetensors_writer
from .appearing import appearing
from .checkpoint import CONFIG, WEIGHTS, Checkpoint, copy_own
from .peft_folder import Lora, Pair
from .safetensors_file import Floats
from .safetensors_writer import WIDTHS, FloatKind

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was made, and how many of its tensors are not the checkpoint's."""

    folder: Path
    merged: int
    tensors: int


def merge(source: Path, adapter: Path, folder: Path, report: Report = lambda *_: None) -> Outcome:
    """Write `folder`. Nothing is left under the name where it fails.

    Raises InvalidValue for what does not fit and a folder that is there, ConversionFailed for numbers that do not fit
    the checkpoint's type, StorageFull where it cannot be written.
    """
    checkpoint, lora = Checkpoint.open(source), peft_folder.read(adapter)
    _check(checkpoint, lora)
    kind = _kind(checkpoint)
    work = manifest.Work("merge", {"adapter": adapter.resolve().name}, libraries=("numpy",))
    work.read(source)
    licence = work.licence
    work.read(adapter)
    work.licence = licence
    with appearing(folder) as partial:
        for path in (source / CONFIG, *checkpoint.companions()):
            copy_own(path, partial)
        safetensors_writer.write(partial / WEIGHTS, checkpoint.shapes, kind, _pieces(checkpoint, lora, report))
        types: dict[str, int] = {kind: len(checkpoint.shapes)}
        manifest.write(partial, work, tensor_types=types, parameters=checkpoint.parameters)
    return Outcome(folder, len(lora.pairs), len(checkpoint.shapes))


def _pieces(checkpoint: Checkpoint, lora: Lora, report: Report) -> Iterator[Floats]:
    for number, name in enumerate(checkpoint.shapes):
        report(number / len(checkpoint.shapes), name)
        values = checkpoint.floats(name)
        pair = lora.pairs.get(name.removesuffix(".weight"))
        yield values if pair is None else _added(values, pair, name)


def _added(values: Floats, pair: Pair, name: str) -> Floats:
    """Raises ConversionFailed for an adapter whose numbers do not fit into float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        changed: Floats = values + np.float32(pair.scale) * (pair.b @ pair.a)
    if not np.isfinite(changed).all():
        raise ConversionFailed(f"The adapter makes {name} infinite; its scale or its numbers are too large.")
    return changed


def _check(checkpoint: Checkpoint, lora: Lora) -> None:
    """Raises InvalidValue for an adapter of another model."""
    for module, pair in lora.pairs.items():
        found, shape = checkpoint.shapes.get(f"{module}.weight"), (len(pair.b), pair.a.shape[1])
        if found != shape:
            what = "has no such matrix" if found is None else f"has it as {list(found)}"
            raise InvalidValue(
                f"{lora.folder.name} changes {module[:80]} {list(shape)}, and {checkpoint.folder.name} {what}."
            )


def _kind(checkpoint: Checkpoint) -> FloatKind:
    """The type of most tensors: a few in float32, norms and frequencies, would double the others' size.

    Raises InvalidValue for a type of its own.
    """
    kinds = checkpoint.types()
    strange = sorted(kinds.keys() - WIDTHS.keys())
    if strange:
        raise InvalidValue(f"{checkpoint.folder.name} has tensors of type {strange[0]}; merge into another checkpoint.")
    return max(WIDTHS, key=lambda kind: kinds.get(kind, 0))
