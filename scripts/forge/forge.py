"""From a recipe to a new version of a model, or to the reasons why there is none."""

from pathlib import Path

from pydantic import BaseModel

from server.errors import InvalidValue
from server.models.files import storage_errors, write_atomically
from server.models.registry import Registry
from server.settings import Settings

from ..evaluation.found import Evaluation, Figure
from ..reporting import Reporter
from .gate import Verdict, judge
from .line import Finished, Forging
from .recipe import ForgeRecipe
from .register import refuse_taken, register, registered

VERDICT = "forge.json"


class Ran(BaseModel):
    """One stage of the line."""

    name: str
    seconds: float
    cached: bool
    place: Path


class Forged(BaseModel):
    """What came of it. `version` is None where the gate did not pass."""

    name: str
    version: str | None
    variants: list[str]
    verdict: Verdict
    stages: list[Ran]
    report: Path


def forge(recipe: ForgeRecipe, origin: Path, work: Path, settings: Settings, reporter: Reporter) -> Forged:
    """Runs what is not done, judges, and registers. Raises CupolaError with the words of a stage that failed."""
    refuse_taken(recipe.name, Registry.load(settings.overlay))
    finished = Forging(recipe, origin, work, settings, reporter).run()
    verdict = _judged(recipe, finished)
    version, variants = None, []
    if verdict.passed:
        admitted = {name: finished[name].place for name in verdict.admitted}
        model = registered(recipe.name, admitted, settings) or register(recipe.name, admitted, settings)
        version, variants = model.name, [variant.name for variant in model.variants]
    forged = Forged(
        name=recipe.name,
        version=version,
        variants=variants,
        verdict=verdict,
        stages=[
            Ran(name=name, seconds=one.seconds, cached=one.cached, place=one.place) for name, one in finished.items()
        ],
        report=work / VERDICT,
    )
    with storage_errors(work):
        write_atomically(forged.report, forged.model_dump_json(indent=1))
    return forged


def _judged(recipe: ForgeRecipe, finished: dict[str, Finished]) -> Verdict:
    measured = Evaluation.model_validate(finished["evaluate"].outcome)
    base, checkpoint = (_figure(target.metrics, recipe.gate.metric) for target in measured.targets)
    quality = Evaluation.model_validate(finished["quality"].outcome)
    artifacts = {
        artifact.name: _figure(target.metrics, recipe.gate.metric)
        for artifact, target in zip(recipe.artifacts, quality.targets, strict=True)
    }
    return judge(recipe, base, checkpoint, artifacts)


def _figure(metrics: dict[str, Figure], name: str) -> float:
    if name not in metrics:
        raise InvalidValue(f"gate.metric: {name} was not measured; there are {', '.join(metrics)}.")
    return metrics[name].value
