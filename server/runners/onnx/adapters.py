"""LoRA adapters: a decoder that has inputs `*.lora_A*` and `*.lora_B*` gets the matrices of one bound in each pass.

`RunOptions.add_active_adapter` has no effect under IO binding, so an `.onnx_adapter` file is read, and bound by name.
A graph made by converters/ multiplies by several of the model's matrices at once; its metadata says by which, and the
file, which knows those alone, is put together here.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LoadFailed
from ...models.lora_graph import GRAPH, PARTS
from .session import DTYPES, Session, Tensor, placed, read_adapter

Rows = dict[str, int]  # of the parts of a matrix, by the names of their tensors


def is_adapter(name: str) -> bool:
    """Whether an input of a graph is a LoRA matrix."""
    return ".lora_" in name.lower()


class Adapters:
    """The adapters of one graph, by number in order of loading. None is the model as it is: matrices of rank 0."""

    def __init__(self, session: Session) -> None:
        self._needed = {name: value for name, value in session.inputs.items() if is_adapter(name)}
        self._known = self._needed | {name: value for name, value in session.overridable.items() if is_adapter(name)}
        self._none = {name: _nothing(value) for name, value in self._needed.items()}
        self._parts = {
            key.removeprefix(PARTS): _rows(text) for key, text in session.metadata.items() if key.startswith(PARTS)
        }
        self._loaded: list[dict[str, Tensor]] = []

    def load(self, path: Path, scale: float = 1.0) -> int:
        """Read a file. Raises LoadFailed if it is none, or not for this graph."""
        if not self._known:
            raise LoadFailed(
                f"The graph takes no adapters, so it cannot take {path.name}. Convert the model again, to get {GRAPH}."
            )
        tensors = read_adapter(path)
        if scale != 1.0:
            tensors = {name: _scaled(tensor, scale) if _is_b(name) else tensor for name, tensor in tensors.items()}
        for matrix, rows in self._parts.items():
            tensors |= _put_together(path.name, matrix, rows, tensors)
        strange = sorted(tensors.keys() - self._known.keys())
        if strange:
            raise LoadFailed(f"{path.name} is for another model: this one has no {strange[0]!r}.")
        for name, tensor in tensors.items():
            _check_shape(path.name, self._known[name], list(tensor.shape()))
        self._loaded.append(self._none | tensors)
        return len(self._loaded) - 1

    def tensors(self, adapter: int | None) -> dict[str, Tensor]:
        """What to bind, by name."""
        return self._none if adapter is None else self._loaded[adapter]

    def __len__(self) -> int:
        return len(self._loaded)


def _rows(text: str) -> Rows:
    return {name: int(rows) for name, _, rows in (part.partition("=") for part in text.split())}


def _put_together(file: str, matrix: str, rows: Rows, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The two inputs of a matrix, of the pairs of its parts, which are taken out of `tensors`; none if it has none.

    Parts A [in, r] lie side by side, parts B [r, out] on a diagonal; both are float64 in the graph. Raises LoadFailed
    where they do not fit.
    """
    pairs = {name: [tensors.pop(f"{name}.lora_{kind}", None) for kind in "ab"] for name in rows}
    down: list[Any] = []
    up: list[Any] = []
    for name, count in rows.items():
        a, b = (None if tensor is None else tensor.numpy() for tensor in pairs[name])
        if a is None and b is None:
            up.append(np.zeros((0, count), np.float32))
            continue
        if a is None or b is None or a.ndim != 2 or b.shape != (a.shape[1], count):
            raise LoadFailed(f"{file} is for another model: its matrices of {name} do not fit.")
        down.append(a)
        up.append(b)
    if not down:
        return {}
    if len({a.shape[0] for a in down}) > 1:
        raise LoadFailed(f"{file} is for another model: its matrices of {matrix} do not fit.")
    diagonal = np.zeros((sum(len(b) for b in up), sum(rows.values())), np.float64)
    row = column = 0
    for b in up:
        diagonal[row : row + len(b), column : column + b.shape[1]] = b
        row, column = row + len(b), column + b.shape[1]
    wide = np.ascontiguousarray(np.concatenate(down, axis=1), np.float64)
    return {f"{matrix}.lora_A": placed(wide, "cpu"), f"{matrix}.lora_B": placed(diagonal, "cpu")}


def _is_b(name: str) -> bool:
    return ".lora_b" in name.lower()


def _scaled(tensor: Tensor, scale: float) -> Tensor:
    values = tensor.numpy()
    return placed((values * scale).astype(values.dtype), "cpu")


def _nothing(value: Any) -> Tensor:
    """A matrix of rank 0, or zeros where the graph wants a certain rank. Raises LoadFailed for another type."""
    if value.type not in DTYPES:
        raise LoadFailed(f"{value.name} is {value.type}; adapters have to be float or float16.")
    return placed(np.zeros([axis if isinstance(axis, int) else 0 for axis in value.shape], DTYPES[value.type]), "cpu")


def _check_shape(file: str, value: Any, shape: list[int]) -> None:
    alike = len(shape) == len(value.shape)
    if not alike or any(isinstance(a, int) and a != b for a, b in zip(value.shape, shape, strict=False)):
        raise LoadFailed(f"{file}: {value.name} is {shape}, and the graph takes {value.shape}.")
