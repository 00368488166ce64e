"""The student learns on what it writes itself, by TRL's trainer of generalised knowledge distillation."""

import time
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
from datasets import Dataset
from transformers import PrinterCallback, TrainingArguments

from server.errors import InvalidValue
from server.settings import Settings

from .. import examples
from ..finetuning.arguments import arguments
from ..finetuning.encoding import load_tokenizer
from ..finetuning.model import load_model
from ..finetuning.resuming import held, last_whole, saying_full
from ..finetuning.train import CHECKPOINTS, Ready, Trained, callbacks_of, finish, prepare, steps_of
from ..reporting import Reporter
from .recipe import DistillRecipe, OnPolicy
from .vocabulary import same_vocabulary


def on_policy(recipe: DistillRecipe, teacher: Path, folder: Path, settings: Settings, reporter: Reporter) -> Trained:
    """As `distil`; the validation loss is the divergence from the teacher. Raises InvalidValue for plain texts."""
    started = time.monotonic()
    with held(folder):
        return _run(recipe, teacher, prepare(recipe, folder, settings, reporter), started)


def _run(recipe: DistillRecipe, teacher: Path, ready: Ready, started: float) -> Trained:
    assert recipe.on_policy is not None
    folder = ready.folder
    same_vocabulary(ready.tokenizer, load_tokenizer(teacher))
    steps, checkpoint = steps_of(recipe, ready), last_whole(folder / CHECKPOINTS)
    trainer = _trainer(recipe, recipe.on_policy, ready, load_model(teacher), steps, begins=checkpoint is None)
    with saying_full(folder):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return finish(trainer, ready, recipe, steps, checkpoint, started)


def _trainer(recipe: DistillRecipe, told: OnPolicy, ready: Ready, teacher: Any, steps: int, *, begins: bool) -> Any:
    with warnings.catch_warnings():  # TRL says with a warning that it is experimental; its version is pinned
        warnings.simplefilter("ignore")
        from trl.experimental.gkd import GKDConfig, GKDTrainer

        plain = arguments(recipe, ready.folder / CHECKPOINTS, steps, begins=begins)
        config = GKDConfig(
            **{field.name: getattr(plain, field.name) for field in fields(TrainingArguments) if field.init},
            lmbda=told.share,
            beta=told.beta,
            temperature=told.temperature,
            max_new_tokens=told.new_tokens,
            max_length=max(len(item.tokens) for item in [*ready.train, *ready.validation]) + told.new_tokens,
        )
        trainer = GKDTrainer(
            model=ready.model,
            teacher_model=teacher,
            args=config,
            train_dataset=_dataset(recipe.data / "train.jsonl"),
            eval_dataset=_dataset(recipe.data / "validation.jsonl"),
            processing_class=ready.tokenizer,
            callbacks=list(callbacks_of(recipe, ready.folder, ready.reporter)),
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _dataset(path: Path) -> Dataset:
    found = examples.read(path)
    if any(example.text for example in found):
        raise InvalidValue(f"{path} holds plain texts, and on_policy needs prompts that the student answers.")
    return Dataset.from_list([{"messages": msgspec.to_builtins(example.messages)} for example in found])
