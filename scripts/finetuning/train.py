"""A fine-tuning from a recipe to a checkpoint or an adapter with its record; killed, it goes on where it was."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from safetensors import safe_open
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, set_seed

from converters import manifest
from converters.appearing import appearing
from converters.checkpoint import COMPANIONS
from server.errors import CupolaError, InvalidValue
from server.models.files import write_atomically
from server.models.lineage import Scalar
from server.settings import Settings

from .. import examples
from ..checkpoint import find_checkpoint
from ..reporting import Reporter
from . import methods
from .arguments import VALIDATION, check, chosen_precision
from .encoding import Encoded, Encoder, load_tokenizer
from .model import context_of, trainable
from .objective import NextToken, Objective, load_loss
from .processes import processes
from .recipe import Recipe
from .resuming import claim, digests, held, last_whole, saying_full
from .trainer import build
from .watching import Board, Log, Progress

MODEL = "model"  # in the folder of a training: what was learned
SUMMARY = "trained.json"  # beside it: the figures of the training
CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
LIBRARIES = ("torch", "transformers", "peft", "accelerate")


class Diverged(CupolaError):
    """A training came to a loss that is no number."""


class Trained(BaseModel):
    """What came of a training. Losses are mean surprises of a learned token, in nats; `validation` is of `model`."""

    model: Path
    method: str
    steps: int
    of: int
    loss: float
    validation: float
    validation_before: float
    trained_parameters: int
    parameters: int
    precision: str
    seconds: float
    resumed_at: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """What is loaded and encoded before the first step."""

    model: Any
    tokenizer: Any
    base: Path
    train: list[Encoded]
    validation: list[Encoded]
    folder: Path
    reporter: Reporter


def train(
    recipe: Recipe, folder: Path, settings: Settings, reporter: Reporter, watching: Sequence[TrainerCallback] = ()
) -> Trained:
    """Everything goes into `folder`; what was learned is in `folder/model` when it ends. Raises InvalidValue."""
    loss = load_loss(recipe.loss) if recipe.loss else None
    return run(recipe, folder, settings, reporter, lambda _: NextToken(loss), watching)


def run(
    recipe: Recipe,
    folder: Path,
    settings: Settings,
    reporter: Reporter,
    objective: Callable[[Ready], Objective],
    watching: Sequence[TrainerCallback] = (),
) -> Trained:
    """A training with an objective of its own."""
    started = time.monotonic()
    with held(folder):
        return _run(recipe, prepare(recipe, folder, settings, reporter), objective, watching, started)


def _run(
    recipe: Recipe,
    ready: Ready,
    objective: Callable[[Ready], Objective],
    watching: Sequence[TrainerCallback],
    started: float,
) -> Trained:
    folder, reporter = ready.folder, ready.reporter
    steps = steps_of(recipe, ready)
    checkpoint = last_whole(folder / CHECKPOINTS)
    if processes().is_main_process:
        begun = f", from step {checkpoint.name.rpartition('-')[2]}" if checkpoint else ""
        reporter.say(f"{recipe.method} of {ready.base.name}: {len(ready.train)} examples, {steps} steps{begun}.")
    trainer = build(
        recipe,
        ready.model,
        (ready.train, ready.validation),
        folder / CHECKPOINTS,
        padding=ready.tokenizer.pad_token_id,
        steps=steps,
        begins=checkpoint is None,
        objective=objective(ready),
        callbacks=[*callbacks_of(recipe, folder, reporter), *watching],
    )
    with saying_full(folder):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return finish(trainer, ready, recipe, steps, checkpoint, started)


def steps_of(recipe: Recipe, ready: Ready) -> int:
    """Of the optimiser."""
    return recipe.steps or max(1, math.floor(recipe.epochs * len(ready.train) / recipe.batch))


def finish(
    trainer: Trainer, ready: Ready, recipe: Recipe, steps: int, checkpoint: Path | None, started: float
) -> Trained:
    """Write what was learned, by the main process, and sum up. Raises Diverged."""
    outcome = _outcome(trainer.state, ready, recipe, steps, checkpoint, time.monotonic() - started)
    if not math.isfinite(outcome.validation):
        raise Diverged(
            f"The training in {ready.folder} came to a loss that is no number, so no model was written. Remove the"
            " folder and take a smaller learning rate; where the loss was none before the first step, the base or the"
            " loss function is broken."
        )
    if processes().is_main_process:
        # First, so that where there is a model it is there to be read.
        write_atomically(ready.folder / SUMMARY, outcome.model_dump_json(indent=1))
        _save(trainer.accelerator.unwrap_model(trainer.model), ready, recipe)
    processes().wait_for_everyone()
    return outcome


def prepare(recipe: Recipe, folder: Path, settings: Settings, reporter: Reporter) -> Ready:
    """Check everything that can be wrong before the first step. Raises InvalidValue."""
    if (folder / MODEL).exists():
        raise InvalidValue(f"{folder / MODEL} exists already: that training is finished.")
    check(recipe)
    splits = [examples.read(recipe.data / f"{split}.jsonl") for split in ("train", "validation")]
    if len(splits[0]) < recipe.batch:
        raise InvalidValue(f"train.jsonl has {len(splits[0])} examples, and a step takes {recipe.batch}.")
    with processes().main_process_first():  # a GGUF file is made a checkpoint, by one
        base = find_checkpoint(recipe.base, settings)
    tokenizer = load_tokenizer(base)
    if processes().is_main_process:
        claim(folder, recipe, base)
    set_seed(recipe.seed)
    model = methods.find(recipe.method).prepare(recipe, base)
    encoder = Encoder(tokenizer, context_of(model, recipe.max_length), recipe.answers)
    encoded = [
        encoder.all(found, f"{split}.jsonl") for split, found in zip(("train", "validation"), splits, strict=True)
    ]
    return Ready(model, tokenizer, base, encoded[0], encoded[1], folder, reporter)


def _outcome(
    state: TrainerState, ready: Ready, recipe: Recipe, steps: int, checkpoint: Path | None, seconds: float
) -> Trained:
    """The best checkpoint was loaded where there is patience. The base is none, however much better it was."""
    validations = [entry[VALIDATION] for entry in state.log_history if VALIDATION in entry]
    best = state.best_metric if recipe.patience is not None and state.best_model_checkpoint else None
    trained, parameters = trainable(ready.model)
    return Trained(
        model=ready.folder / MODEL,
        method=recipe.method,
        steps=state.global_step,
        of=steps,
        loss=[entry["loss"] for entry in state.log_history if "loss" in entry][-1],
        validation=validations[-1] if best is None else best,
        validation_before=validations[0],
        trained_parameters=trained,
        parameters=parameters,
        precision=chosen_precision(recipe),
        seconds=round(seconds, 1),
        resumed_at=int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
    )


def callbacks_of(recipe: Recipe, folder: Path, reporter: Reporter) -> Sequence[TrainerCallback]:
    """The main process says and writes down what all do."""
    told: list[TrainerCallback] = []
    if processes().is_main_process:
        told += [Log(folder / LOG), Board(folder / "tensorboard"), Progress(reporter)]
    if recipe.patience is not None:
        told.append(EarlyStoppingCallback(recipe.patience))
    return told


def _save(model: Any, ready: Ready, recipe: Recipe) -> None:
    """What was learned, with the base's tokenizer and its history. The checkpoints have served then."""
    told: dict[str, Scalar] = {"method": recipe.method, "learning_rate": recipe.rate, "batch": recipe.batch}
    told |= {"epochs": recipe.epochs, "seed": recipe.seed, "answers": recipe.answers}
    work = manifest.Work(recipe.tool, told, libraries=LIBRARIES, datasets=digests(recipe.data))
    work.read(ready.base)
    ready.reporter.step(1.0, "Writing the model")
    with appearing(ready.folder / MODEL) as partial:
        methods.find(recipe.method).save(model, partial)
        for name in COMPANIONS:
            if (ready.base / name).is_file():
                shutil.copyfile(ready.base / name, partial / name)
        manifest.write(partial, work, tensor_types=_types(partial))
    shutil.rmtree(ready.folder / CHECKPOINTS)


def _types(folder: Path) -> dict[str, int]:
    """Tensors of the safetensors files by their type."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.update(file.get_slice(name).get_dtype() for name in file.keys())  # noqa: SIM118  # no mapping
    return dict(sorted(found.items()))
