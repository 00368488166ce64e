"""What a training makes small. An objective sums over the positions that are learned; the trainer divides."""

import sys
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from torch import Tensor
from torch.nn import functional

from server.errors import InvalidValue

from .batches import Batch, inputs_of
from .encoding import IGNORED


class Loss(Protocol):
    """Of logits [positions, vocabulary] and the tokens that stand there [positions]: a sum."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar with a gradient."""
        ...


class Objective(Protocol):
    """What is computed of a batch, in sum over its learned positions."""

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """A scalar with a gradient. The model is called once, as it may be wrapped for several processes."""
        ...


class NextToken:
    """How surprised the model is by the answers; cross-entropy unless another loss is given."""

    def __init__(self, loss: Loss | None = None) -> None:
        self._loss = loss or cross_entropy

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Only the positions that are learned reach the loss."""
        logits = model(**inputs_of(batch), use_cache=False).logits
        learned = batch["labels"] != IGNORED
        return self._loss(logits[learned].float(), batch["labels"][learned])


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """In nats, summed."""
    return functional.cross_entropy(logits, targets, reduction="sum")


def load_loss(name: str) -> Loss:
    """The function of `package.module:name` or `file.py:name`, which is the user's own code. Raises InvalidValue."""
    place, colon, function = name.rpartition(":")
    if not colon or not place or not function:
        raise InvalidValue(f"loss: '{name}' is neither package.module:name nor file.py:name.")
    try:
        module = _file(Path(place)) if place.endswith(".py") else import_module(place)
    except (ImportError, OSError, SyntaxError) as error:
        raise InvalidValue(f"loss: {place} cannot be imported: {error}.") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise InvalidValue(f"loss: {place} has no function {function}.")
    return cast("Loss", found)


def _file(path: Path) -> ModuleType:
    spec = util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
