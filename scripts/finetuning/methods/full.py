"""All weights are trained; what is saved is a checkpoint."""

from pathlib import Path
from typing import Any

from ..model import load_model
from ..recipe import Recipe


def prepare(recipe: Recipe, base: Path) -> Any:
    """The checkpoint in fp32: an optimiser's small steps are lost in fewer bits."""
    del recipe
    return load_model(base)


def save(model: Any, folder: Path) -> None:
    """safetensors and config.json."""
    model.save_pretrained(folder)
