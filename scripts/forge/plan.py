"""Which stages a line has, and what each depends on. Pure: a stage is done where its key is done."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .recipe import ForgeRecipe, Section

VERSION = 1  # of the stages' meaning: another makes every key another


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. `order` is what its tool is told; places in it are names of stages before, and of what is outside."""

    name: str
    kind: str
    order: Section
    after: tuple[str, ...] = ()


def plan(recipe: ForgeRecipe) -> list[Stage]:
    """From the first to the last, each after all that it needs."""
    found: list[Stage] = []
    if recipe.teach is not None:
        found.append(Stage("teach", "teach", recipe.teach))
    taught = ("teach",) if recipe.teach is not None else ()
    found.append(Stage("data", "data", recipe.data, taught))
    model: tuple[str, ...] = ()  # where the last one was made; of the base, nowhere
    if recipe.prune is not None:
        found.append(Stage("prune", "prune", recipe.prune.model_dump(mode="json")))
        model = ("prune",)
    for kind, section in (("distil", recipe.distil), ("finetune", recipe.finetune)):
        if section is not None:
            found.append(Stage(kind, kind, section, ("data", *model)))
            model = (kind,)
    found.append(Stage("merge", "merge", {}, model))
    found.append(Stage("evaluate", "evaluate", recipe.evaluate, ("data", "merge")))
    for artifact in recipe.artifacts:
        order = {"to": artifact.to, "precision": artifact.precision, "imatrix": artifact.imatrix}
        found.append(Stage(artifact.name, "convert", order, ("merge",)))
    names = tuple(artifact.name for artifact in recipe.artifacts)
    found.append(Stage("quality", "quality", {**recipe.evaluate, "artifacts": names}, ("data", "merge", *names)))
    return found


def keys(stages: list[Stage], outside: Mapping[str, str]) -> dict[str, str]:
    """By stage, the hash of all that decides its result. `outside`: digests of the files that the recipe names."""
    found: dict[str, str] = {}
    for stage in stages:
        told: dict[str, Any] = {"version": VERSION, "kind": stage.kind, "order": stage.order}
        told["outside"] = dict(sorted(outside.items()))
        told["before"] = [found[name] for name in stage.after]
        found[stage.name] = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return found
