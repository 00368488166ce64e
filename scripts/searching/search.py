"""Trials of a recipe in a study that is kept in SQLite: killed, it goes on with the trials that are left."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import BaseModel
from sqlalchemy.exc import DatabaseError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from server.errors import CupolaError, InvalidValue
from server.models.files import storage_errors, write_atomically
from server.settings import Settings

from .. import examples
from ..checkpoint import find_checkpoint
from ..finetuning.arguments import VALIDATION
from ..finetuning.resuming import claim, held
from ..finetuning.train import MODEL, Diverged, train
from ..reporting import Reporter
from . import page
from .recipe import Range, SearchRecipe, Value, searched, tuned

STUDY = "study"
DATABASE = "study.db"


class Tried(BaseModel):
    """A trial that ended: its lowest validation loss in nats, or the last one where it was pruned.

    None where that was no number.
    """

    number: int
    values: dict[str, Value]
    loss: float | None
    state: str
    seconds: float


class Found(BaseModel):
    """What a search found; `importance` is each field's share of the losses' variation, where it can be told."""

    best: Tried
    trials: list[Tried]
    importance: dict[str, float]
    report: Path


def search(recipe: SearchRecipe, origin: Path, folder: Path, settings: Settings, reporter: Reporter) -> Found:
    """Everything is in `folder`; the best trial's model stays, the others' go. Raises InvalidValue."""
    with held(folder):
        _claim(recipe, origin, folder, settings)
        return _search(recipe, origin, folder, settings, reporter)


def _search(recipe: SearchRecipe, origin: Path, folder: Path, settings: Settings, reporter: Reporter) -> Found:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(recipe, folder)
    left = recipe.trials - sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials)
    for number in range(max(0, left)):
        done = recipe.trials - left + number
        trial = study.ask()
        _try(recipe, origin, folder, settings, _Shared(reporter, done, recipe.trials), study, trial)
    found = _found(study, folder)
    _keep_best(folder, found.best.number)
    with storage_errors(folder):
        write_atomically(found.report, page.render(found.trials, found.best.number, found.importance))
    return found


class _Shared(Reporter):
    """Progress of one trial as a part of all."""

    def __init__(self, whole: Reporter, done: int, trials: int) -> None:
        super().__init__(None)
        self._whole, self._done, self._trials = whole, done, trials

    def step(self, fraction: float, doing: str, **figures: float) -> None:
        """The bar of the search."""
        part = (self._done + fraction) / self._trials
        self._whole.step(part, f"Trial {self._done + 1} of {self._trials}: {doing.lower()}", **figures)

    def say(self, sentence: str) -> None:
        """Said with the trial it is about."""
        self._whole.say(f"Trial {self._done + 1}: {sentence}")


class _Pruning(TrainerCallback):
    """Reports validations to the study, which may stop the trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.losses: list[float] = []
        self.pruned = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """After each validation but the one before the first step."""
        loss = (metrics or {})[VALIDATION]
        if state.global_step == 0:
            return
        self.losses.append(loss)
        if not isfinite(loss):
            control.should_training_stop = True
            return
        self._trial.report(loss, state.global_step)
        if self._trial.should_prune():
            self.pruned = control.should_training_stop = True


def _claim(recipe: SearchRecipe, origin: Path, folder: Path, settings: Settings) -> None:
    """Write down what is searched in a folder. Raises InvalidValue where that was something else."""
    told = searched(recipe, origin)
    base = find_checkpoint(told.base, settings)  # a base or data that is a mistake claims nothing
    for split in ("train", "validation"):
        examples.read(told.data / f"{split}.jsonl")
    with storage_errors(folder):
        claim(folder, told, base)


def _study(recipe: SearchRecipe, folder: Path) -> optuna.Study:
    """Trials that a kill ended are given up, and their values tried again."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=recipe.warmup_trials) if recipe.prune else None
    with _readable(folder / DATABASE):
        study = optuna.create_study(
            storage=_storage(folder / DATABASE),
            study_name=STUDY,
            pruner=pruner or optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, skip_if_exists=False)
        shutil.rmtree(folder / f"trial-{trial.number}", ignore_errors=True)
    study.sampler = _sampler(recipe, sum(trial.state.is_finished() for trial in study.trials))
    return study


def _storage(database: Path) -> optuna.storages.RDBStorage:
    """Opened by its path: in an address a question mark would end it."""
    return optuna.storages.RDBStorage("sqlite:///study", engine_kwargs={"creator": lambda: sqlite3.connect(database)})


@contextmanager
def _readable(database: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        words = f"{database} is no study of a search ({error.orig or error})"
        raise InvalidValue(f"{words}. Move it away, or name another folder.") from None


def _sampler(recipe: SearchRecipe, finished: int) -> optuna.samplers.BaseSampler:
    """A study that goes on has a seed of its own: with the first one the same values would be tried again."""
    seed = recipe.seed + finished
    return optuna.samplers.TPESampler(seed=seed) if recipe.sampler == "tpe" else optuna.samplers.RandomSampler(seed)


def _try(
    recipe: SearchRecipe,
    origin: Path,
    folder: Path,
    settings: Settings,
    reporter: Reporter,
    study: optuna.Study,
    trial: Trial,
) -> None:
    values = {name: _suggested(trial, name, space) for name, space in recipe.space.items()}
    pruning = _Pruning(trial)
    ended = False
    with suppress(Diverged):
        train(tuned(recipe, values, origin), folder / f"trial-{trial.number}", settings, reporter, [pruning])
        ended = True
    if pruning.pruned:
        study.tell(trial, state=TrialState.PRUNED)
    elif ended and isfinite(loss := min(pruning.losses)):
        study.tell(trial, loss)
    else:
        study.tell(trial, state=TrialState.FAIL)
        reporter.say("its loss is no number, so it is left out.")


def _suggested(trial: Trial, name: str, space: Range | tuple[Value, ...]) -> Value:
    if not isinstance(space, Range):
        chosen: Value = trial.suggest_categorical(name, list(space))
        return chosen
    if space.whole:
        return trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)


def _found(study: optuna.Study, folder: Path) -> Found:
    trials = [_tried(trial) for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    whole = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not whole:
        raise CupolaError("No trial came to a loss that is a number. Search among smaller learning rates.")
    best = _tried(study.best_trial)
    varied = len({trial.value for trial in whole}) > 1
    importance = optuna.importance.get_param_importances(study) if len(whole) > 3 and varied else {}
    return Found(best=best, trials=trials, importance=dict(importance), report=folder / "search.html")


def _tried(trial: FrozenTrial) -> Tried:
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return Tried(
        number=trial.number, values=trial.params, loss=trial.value, state=trial.state.name.lower(), seconds=seconds
    )


def _keep_best(folder: Path, best: int) -> None:
    """Models are large, and only one is wanted; the logs of all stay."""
    for trial in folder.glob("trial-*"):
        if trial.name != f"trial-{best}":
            shutil.rmtree(trial / MODEL, ignore_errors=True)
