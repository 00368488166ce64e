"""All weights are trained; what is saved is a checkpoint."""

from pathlib import Path
from typing import Any

from ..model import load_model
from ..recipe import Recipe


def prepare(recipe: Recipe, base: Path) -> Any:
    """The checkpoint in fp32: an optimiser's small steps are lost in fewer bits."""
    model = load_model(base)
    if recipe.freeze_embeddings:
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            if table is not None:
                table.requires_grad_(requires_grad=False)
    return model


def save(model: Any, folder: Path) -> None:
    """safetensors and config.json."""
    model.save_pretrained(folder)
