"""Bottleneck adapters behind frozen blocks; what is saved is a folder of ours."""

from pathlib import Path
from typing import Any

from .. import bottlenecks
from ..model import load_model
from ..recipe import Recipe


def prepare(recipe: Recipe, base: Path) -> Any:
    """The checkpoint with adapters that change nothing yet."""
    model = load_model(base)
    bottlenecks.attach(model, recipe.bottleneck.size)
    return model


def save(model: Any, folder: Path) -> None:
    """bottleneck.json and bottleneck.safetensors."""
    bottlenecks.write(model, folder, model.config.name_or_path)
