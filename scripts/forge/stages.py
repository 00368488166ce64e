"""What each kind of stage does, in a process of its own: its memory returns when it ends, and it can be killed.

A stage writes into its folder and returns what the report says of it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from server.errors import ConversionFailed
from server.settings import Settings, child_environment

from ..checkpoint import find_checkpoint
from ..reporting import Reporter

MADE = "made"  # in the folder of a stage: its result
ADAPTER = "adapter_config.json"
MODELS = ("prune", "distil", "finetune")  # in the order in which they change the base


class Job(BaseModel):
    """What a stage's process is told: its order, and where what it needs was made."""

    kind: str
    order: dict[str, Any]
    places: dict[str, Path]
    """By name: the results of stages before; `base`, and the recipe's folder as `here`."""


Outcome = dict[str, Any]
Kind = Callable[[Job, Path, Settings, Reporter], Outcome]


def _teach(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    from ..teaching.order import Order
    from ..teaching.teach import teach

    folder.mkdir(parents=True, exist_ok=True)
    found = teach(Order.model_validate(job.order), folder / f"{MADE}.jsonl", reporter)
    outcome: Outcome = msgspec.to_builtins(found)
    return outcome


def _data(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """A folder that is ready is copied, so that it stays as it was."""
    from ..data.order import Order
    from ..data.prepare import prepare

    if "folder" in job.order:
        shutil.copytree(job.places["here"] / job.order["folder"], folder / MADE, dirs_exist_ok=True)
        return {"folder": str(job.order["folder"])}
    order = dict(job.order)
    if "teach" in job.places:
        order["sources"] = [*order.get("sources", ()), str(job.places["teach"])]
    order.setdefault("tokenizer", str(job.places["base"]))
    return prepare(Order.model_validate(order), folder / MADE, reporter).model_dump(mode="json")


def _prune(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """By the bundled text."""
    from converters.pruning.prune import Plan, prune
    from converters.quality import prose

    shutil.rmtree(folder / MADE, ignore_errors=True)
    made = prune(job.places["base"], folder / MADE, Plan(**job.order), prose(), "prose.txt", reporter.step)
    return {"blocks": made.blocks, "channels": made.channels, "perplexity": made.perplexity, "dropped": made.dropped}


def _finetune(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    from ..finetuning.recipe import Recipe
    from ..finetuning.train import train

    told = Recipe.model_validate({**job.order, "base": str(_before(job, "finetune")), "data": job.places["data"]})
    return train(told, folder, settings, reporter).model_dump(mode="json")


def _distil(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    from ..distillation.distil import distil
    from ..distillation.recipe import DistillRecipe

    told = DistillRecipe.model_validate({**job.order, "base": str(_before(job, "distil")), "data": job.places["data"]})
    return distil(told, folder, settings, reporter).model_dump(mode="json")


def _merge(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """An adapter becomes a checkpoint; a checkpoint stays where it is."""
    from converters.merge import merge

    last = "finetune" if "finetune" in job.places else "distil"
    trained = job.places[last]
    if not (trained / ADAPTER).is_file():
        return {"at": str(trained)}
    shutil.rmtree(folder / MADE, ignore_errors=True)
    merge(_before(job, last), trained, folder / MADE, lambda part, _: reporter.step(part, "Merging the adapter"))
    return {"at": str(folder / MADE)}


def _evaluate(job: Job, folder: Path, settings: Settings, reporter: Reporter) -> Outcome:
    """The base and the trained checkpoint, by PyTorch."""
    return _evaluated(job, [job.places["base"], job.places["merge"]], folder, reporter)


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
    """By `cupola convert`, as a user would."""
    order = job.order
    target = folder / MADE
    shutil.rmtree(target, ignore_errors=True)
    reporter.step(0.0, f"Converting to {order['to']} {order['precision']}")
    options = ["--imatrix", "auto"] if order["imatrix"] else []
    told = [str(job.places["merge"]), "--to", order["to"], "--precision", order["precision"], *options]
    command = [sys.executable, "-P", "-m", "server", "convert", *told, "-o", f"{target}/"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise ConversionFailed(words[-1].removeprefix("Error: ") if words else f"cupola convert: {done.returncode}")
    files = sorted(target.glob("*.gguf"))
    return {"at": str(files[0] if files else target)}


def _before(job: Job, kind: str) -> Path:
    """The checkpoint that a stage starts from: what the one before it made of the base, or the base."""
    earlier = [name for name in MODELS[: MODELS.index(kind)] if name in job.places]
    return job.places[earlier[-1] if earlier else "base"]


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


def result(kind: str, folder: Path, outcome: Outcome) -> Path:
    """Where the result of a finished stage is."""
    if kind in {"merge", "convert"}:
        return Path(outcome["at"])
    if kind in {"distil", "finetune"}:
        return Path(outcome["model"])
    if kind == "teach":
        return folder / f"{MADE}.jsonl"
    return folder / MADE if kind in {"data", "prune"} else folder


def base_of(name: str, settings: Settings) -> Path:
    """The checkpoint that a line begins with. Raises InvalidValue."""
    return find_checkpoint(name, settings)


def read(path: Path) -> Job:
    """The order of a stage."""
    return Job.model_validate(json.loads(path.read_text("utf-8")))
