"""A distillation from a recipe to a checkpoint with its record; killed, it goes on where it was."""

from pathlib import Path
from typing import Any

from server.settings import Settings

from ..checkpoint import find_checkpoint
from ..finetuning.encoding import load_tokenizer
from ..finetuning.model import load_model
from ..finetuning.objective import Objective
from ..finetuning.processes import processes
from ..finetuning.resuming import weights
from ..finetuning.train import Ready, Trained, run
from ..reporting import Reporter
from . import cache
from .objective import CachedDistillation, build
from .recipe import DistillRecipe
from .vocabulary import same_vocabulary


def distil(recipe: DistillRecipe, folder: Path, settings: Settings, reporter: Reporter) -> Trained:
    """As `train`, with the teacher's part in the loss. Raises InvalidValue where the two share no vocabulary."""
    with processes().main_process_first():
        teacher = find_checkpoint(recipe.teacher, settings)
    if recipe.on_policy is not None:
        from .on_policy import on_policy

        return on_policy(recipe, teacher, folder, settings, reporter)
    return run(recipe, folder, settings, reporter, lambda ready: _objective(recipe, teacher, ready))


def _objective(recipe: DistillRecipe, teacher: Path, ready: Ready) -> Objective:
    same_vocabulary(ready.tokenizer, load_tokenizer(teacher))
    if recipe.logits.cached is not None:
        return CachedDistillation(recipe.logits, _cached(recipe.logits.cached, teacher, ready))
    model = _loaded(teacher)
    if recipe.layers.attention:
        for one in (ready.model, model):
            one.set_attn_implementation("eager")  # the others do not tell what they attend to
    return build(recipe, ready.model, model)


def _cached(count: int, teacher: Path, ready: Ready) -> cache.Cache:
    """What the teacher says, asked by the main process once; the others wait."""
    kept = ready.folder / f"teacher-{weights(teacher)[:12]}"  # another teacher of the same name says something else
    padding, said = ready.tokenizer.pad_token_id, ready.reporter.step
    with processes().main_process_first():
        if not kept.exists():
            cache.write(
                _loaded(teacher), ready.train, count, padding, kept, lambda part: said(part, "The teacher reads")
            )
    return cache.Cache(kept)


def _loaded(teacher: Path) -> Any:
    """On the device of the process: the student is there only when its trainer has been made."""
    return load_model(teacher).to(processes().device)
