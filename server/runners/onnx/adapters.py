"""LoRA adapters: a decoder that has inputs `*.lora_A.*` and `*.lora_B.*` gets the matrices of one bound in each pass.

`RunOptions.add_active_adapter` has no effect under IO binding, so an `.onnx_adapter` file is read, and bound by name.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LoadFailed
from .session import DTYPES, Session, Tensor, placed, read_adapter


def is_adapter(name: str) -> bool:
    """Whether an input of a graph is a LoRA matrix."""
    return ".lora_" in name.lower()


class Adapters:
    """The adapters of one graph, by number in order of loading. None is the model as it is: matrices of rank 0."""

    def __init__(self, session: Session) -> None:
        self._needed = {name: value for name, value in session.inputs.items() if is_adapter(name)}
        self._known = self._needed | {name: value for name, value in session.overridable.items() if is_adapter(name)}
        self._none = {name: _nothing(value) for name, value in self._needed.items()}
        self._loaded: list[dict[str, Tensor]] = []

    def load(self, path: Path) -> int:
        """Read a file. Raises LoadFailed if it is none, or not for this graph."""
        if not self._known:
            raise LoadFailed(
                f"The graph takes no adapters, so it cannot take {path.name}. Convert the model with some."
            )
        tensors = read_adapter(path)
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


def _nothing(value: Any) -> Tensor:
    """A matrix of rank 0, or zeros where the graph wants a certain rank. Raises LoadFailed for another type."""
    if value.type not in DTYPES:
        raise LoadFailed(f"{value.name} is {value.type}; adapters have to be float or float16.")
    return placed(np.zeros([axis if isinstance(axis, int) else 0 for axis in value.shape], DTYPES[value.type]), "cpu")


def _check_shape(file: str, value: Any, shape: list[int]) -> None:
    alike = len(shape) == len(value.shape)
    if not alike or any(isinstance(a, int) and a != b for a, b in zip(value.shape, shape, strict=False)):
        raise LoadFailed(f"{file}: {value.name} is {shape}, and the graph takes {value.shape}.")
