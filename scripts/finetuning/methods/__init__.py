"""How a checkpoint is trained, one file a method: `prepare` the model, `save` what was learned."""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ..recipe import Method as Name
from ..recipe import Recipe


class Method(Protocol):
    """A module of this package."""

    def prepare(self, recipe: Recipe, base: Path) -> Any:
        """The model to train, in fp32, with what stays as it is frozen. Raises InvalidValue."""
        ...

    def save(self, model: Any, folder: Path) -> None:
        """Write what was learned: a checkpoint, or an adapter."""
        ...


def find(name: Name) -> Method:
    """The method of a recipe."""
    return cast("Method", import_module(f"{__name__}.{name}"))
