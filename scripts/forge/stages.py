"""What each kind of stage does, in a process of its own: its memory returns when it ends, and it can be killed.

A stage writes into its folder and returns what the report says of it.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import BaseModel

from server.errors import InvalidValue
from server.models.chain import Wish, stages
from server.models.converting import Plan, run
from server.models.progress import Progress
from server.settings import Settings

from .. import examples
from ..checkpoint import find_checkpoint
from ..finetuning.recipe import Recipe
from ..reporting import Reporter

if TYPE_CHECKING:
    from ..finetuning.train import Trained

Told = TypeVar("Told", bound=Recipe)

MADE = "made"  # in the folder of a stage: its result
ADAPTER = "adapter_config.json"


class Job(BaseModel):
    """What a stage's process is told: its order, and where what it needs was made."""

    kind: str
    order: dict[str, Any]
    places: dict[str, Path]
    """By name: the results of stages before; `model`, which it takes; `base`; the recipe's folder as `here`."""


Outcome = dict[str, Any]
Kind = Callable[[Job, Path, Settings, Reporter], Outcome]


def _teach(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    from ..teaching.order import Order
    from ..teaching.teach import teach

    folder.mkdir(parents=True, exist_ok=True)
    found = teach(Order.model_validate(job.order), folder / f"{MADE}.jsonl", reporter)
    if found.unanswered:
        raise InvalidValue(
            f"{found.unanswered} requests were not answered. Run it again, which asks only those, or leave their inputs"
            f" out: {folder / MADE}.rejected.jsonl has them."
        )
    outcome: Outcome = msgspec.to_builtins(found)
    return outcome


def _data(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """A folder that is ready is copied, so that it stays as it was."""
    from ..data.order import Order
    from ..data.prepare import prepare

    if "folder" in job.order:
        shutil.rmtree(folder / MADE, ignore_errors=True)
        shutil.copytree(job.places["here"] / job.order["folder"], folder / MADE)
        for split in examples.SPLITS:  # now: training would first miss its own, and after hours the evaluation its own
            examples.read(folder / MADE / f"{split}.jsonl")
        return {"folder": str(job.order["folder"])}
    order = dict(job.order)
    if "teach" in job.places:
        order["sources"] = [*order.get("sources", ()), str(job.places["teach"])]
    order.setdefault("tokenizer", str(job.places["base"]))
    shutil.rmtree(folder / MADE, ignore_errors=True)  # whole, and of a run that was killed before it could say so
    return prepare(Order.model_validate(order), folder / MADE, reporter).model_dump(mode="json")


def _prune(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """By the bundled text."""
    from converters.pruning.prune import Plan, prune
    from converters.quality import prose

    shutil.rmtree(folder / MADE, ignore_errors=True)
    made = prune(job.places["model"], folder / MADE, Plan(**job.order), prose(), "prose.txt", reporter.step)
    return {"blocks": made.blocks, "channels": made.channels, "perplexity": made.perplexity, "dropped": made.dropped}


def _finetune(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    from ..finetuning.train import train

    return _trained(job, Recipe, folder, lambda told: train(told, folder, settings, reporter))


def _distil(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    from ..distillation.distil import distil
    from ..distillation.recipe import DistillRecipe

    return _trained(job, DistillRecipe, folder, lambda told: distil(told, folder, settings, reporter))


def _trained(job: Job, kind: "type[Told]", folder: Path, train: "Callable[[Told], Trained]") -> Outcome:
    """A training that ended, and was killed before it could say so, is not asked to begin again."""
    from ..finetuning.train import MODEL, SUMMARY

    if not (folder / MODEL).exists():
        train(kind.model_validate({**job.order, "base": str(job.places["model"]), "data": job.places["data"]}))
    outcome: Outcome = json.loads((folder / SUMMARY).read_text("utf-8"))
    return outcome


def _merge(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """An adapter becomes a checkpoint; a checkpoint stays where it is."""
    from converters.merge import merge

    trained = _learned(job)
    shutil.rmtree(folder / MADE, ignore_errors=True)
    if not (trained / ADAPTER).is_file():
        return {"merged": False}
    merge(job.places["model"], trained, folder / MADE, lambda part, _: reporter.step(part, "Merging the adapter"))
    return {"merged": True}


def _learned(job: Job) -> Path:
    """What the training before has written."""
    return next(job.places[name] for name in ("distil", "finetune") if name in job.places)


def _evaluate(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """The base and the trained checkpoint, by PyTorch."""
    return _evaluated(job, [job.places["base"], job.places["model"]], folder, reporter)


def _quality(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """The artifacts, through the server."""
    names = job.order.pop("artifacts")
    return _evaluated(job, [job.places[name] for name in names], folder, reporter)


def _evaluated(job: Job, targets: list[Path], folder: Path, reporter: Reporter) -> Outcome:
    from ..evaluation.evaluate import evaluate
    from ..evaluation.order import Order

    told = {**job.order, "targets": [str(target) for target in targets], "data": job.places["data"], "out": folder}
    return evaluate(Order.model_validate(told), reporter).model_dump(mode="json")


def _convert(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """As `cupola convert` does it."""
    order, target, between = job.order, folder / MADE, folder / "between"
    for left in (target, between):
        shutil.rmtree(left, ignore_errors=True)
    name = f"{order['to']} {order['precision']}"

    def report(progress: Progress) -> None:
        reporter.step(progress.done / progress.total if progress.total else 0.0, f"Converting to {name}")

    wish = Wish(order["to"], order["precision"], imatrix="auto" if order["imatrix"] else None)
    run(Plan(job.places["model"], stages("huggingface", wish), name), target, between, report)
    shutil.rmtree(between, ignore_errors=True)
    return {"files": sorted(path.name for path in target.iterdir())}


KINDS: dict[str, Kind] = {
    "teach": _teach,
    "data": _data,
    "prune": _prune,
    "distil": _distil,
    "finetune": _finetune,
    "merge": _merge,
    "evaluate": _evaluate,
    "convert": _convert,
    "quality": _quality,
}


def result(job: Job, folder: Path, outcome: Outcome) -> Path:
    """Where the result of a finished stage is."""
    match job.kind:
        case "distil" | "finetune":
            return folder / "model"
        case "merge":
            return folder / MADE if outcome["merged"] else _learned(job)
        case "convert":
            files = [name for name in outcome["files"] if name.endswith(".gguf")]
            return folder / MADE / files[0] if files else folder / MADE
        case "teach":
            return folder / f"{MADE}.jsonl"
        case "data" | "prune":
            return folder / MADE
    return folder


def base_of(name: str, settings: Settings) -> Path:
    """The checkpoint that a line begins with. Raises InvalidValue."""
    return find_checkpoint(name, settings)


def read(path: Path) -> Job:
    """The order of a stage."""
    return Job.model_validate(json.loads(path.read_text("utf-8")))
