"""Which stages a line has, and what each depends on. Pure: a stage is done where its key is done."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server import __version__

from .recipe import ForgeRecipe, Section

VERSION = 2  # of the stages' meaning: another makes every key another


BASE = "base"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. `order` is what its tool is told; `model` the stage whose checkpoint it takes, or the base."""

    name: str
    kind: str
    order: Section
    after: tuple[str, ...] = ()
    model: str = BASE
    lasting: bool = False
    """Its folder serves other orders too: a teacher's answers are kept, and what was asked is not asked again."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Every stage whose result it reads."""
        return (*self.after, *([self.model] if self.model != BASE else []))


def plan(recipe: ForgeRecipe) -> list[Stage]:
    """From the first to the last, each after all that it needs."""
    found: list[Stage] = []
    if recipe.teach is not None:
        found.append(Stage("teach", "teach", recipe.teach, lasting=True))
    taught = ("teach",) if recipe.teach is not None else ()
    found.append(Stage("data", "data", recipe.data, taught))
    model = BASE
    if recipe.prune is not None:
        found.append(Stage("prune", "prune", recipe.prune.model_dump(mode="json")))
        model = "prune"
    if recipe.distil is not None:
        # Merged at once where an adapter came of it: a fine-tuning begins with a checkpoint.
        found.append(Stage("distil", "distil", recipe.distil, ("data",), model))
        found.append(Stage("distilled", "merge", {}, ("distil",), model))
        model = "distilled"
    if recipe.finetune is not None:
        found.append(Stage("finetune", "finetune", recipe.finetune, ("data",), model))
        found.append(Stage("finetuned", "merge", {}, ("finetune",), model))
        model = "finetuned"
    found.append(Stage("evaluate", "evaluate", recipe.evaluate, ("data",), model))
    for artifact in recipe.artifacts:
        order = {"to": artifact.to, "precision": artifact.precision, "imatrix": artifact.imatrix}
        found.append(Stage(artifact.name, "convert", order, (), model))
    names = tuple(artifact.name for artifact in recipe.artifacts)
    found.append(Stage("quality", "quality", {**recipe.evaluate, "artifacts": names}, ("data", *names), model))
    return found


def keys(stages: list[Stage], outside: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """By stage, the hash of all that decides its result. `outside`: digests of what the recipe names and no stage
    makes, by the kind of stage that reads it; the base is read by most."""
    found: dict[str, str] = {}
    for stage in stages:
        told: dict[str, Any] = {"version": VERSION, "cupola": __version__, "kind": stage.kind, "order": stage.order}
        read = dict(outside.get(stage.kind, {}))
        if stage.kind != "teach":
            read |= outside.get(BASE, {})
        told["outside"] = dict(sorted(read.items()))
        told["before"] = [found[name] for name in stage.needs]
        found[stage.name] = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return found
