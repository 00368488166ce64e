"""What a training says while it runs, and what it writes down: a line of JSON a step, TensorBoard, a warning."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import msgspec
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..reporting import Reporter
from .arguments import VALIDATION

RISES = 2  # validations in a row that are worse than the best, before it is called overfitting


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of log.jsonl: of a step, or of a validation after it."""

    step: int
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    gradient: float | None = None
    validation: float | None = None


def read_log(path: Path) -> list[Entry]:
    """The entries; a last line that a kill cut in two is no entry."""
    entries: list[Entry] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except msgspec.DecodeError:
            break
    return entries


class Watching(TrainerCallback, ABC):
    """Is handed what the trainer logs, but for its summary at the end."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """In our words."""
        entry = _entry(state, logs or {})
        if entry is not None:
            self.on_entry(entry, state)

    @abstractmethod
    def on_entry(self, entry: Entry, state: TrainerState) -> None: ...


class Log(Watching):
    """Appends to log.jsonl. A run that goes on from a checkpoint forgets what was written after it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keep what led to the step it begins at."""
        kept = [entry for entry in read_log(self._path) if entry.step <= state.global_step]
        self._path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in kept))

    def on_entry(self, entry: Entry, state: TrainerState) -> None:
        """One line."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")


class Board(Watching):
    """Writes TensorBoard's event files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What was written after the step it begins at is hidden by TensorBoard itself."""
        self._writer = SummaryWriter(str(self._folder), purge_step=state.global_step + 1)

    def on_entry(self, entry: Entry, state: TrainerState) -> None:
        """The figures of log.jsonl."""
        if self._writer is None:
            return
        for name in ("loss", "learning_rate", "gradient", "validation"):
            value = getattr(entry, name)
            if value is not None:
                self._writer.add_scalar(name, value, entry.step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()


class Progress(Watching):
    """Tells the reporter; warns where the validation loss rises while the training loss falls."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._best = float("inf")
        self._worse = 0
        self._validation: dict[str, float] = {}

    def on_entry(self, entry: Entry, state: TrainerState) -> None:
        """The bar, and its figures."""
        if entry.validation is not None:
            self._validation = {"validation": entry.validation}
            self._watch(entry)
        if entry.loss is not None:
            doing = f"Step {state.global_step} of {state.max_steps}"
            figures = {"loss": entry.loss, **self._validation}
            self._reporter.step(state.global_step / max(state.max_steps, 1), doing, **figures)

    def _watch(self, entry: Entry) -> None:
        loss = entry.validation or 0.0
        self._worse = self._worse + 1 if loss > self._best else 0
        self._best = min(self._best, loss)
        if self._worse == RISES:
            self._reporter.say(
                f"The validation loss has risen since it was {self._best:.4f} and is {loss:.4f} at step {entry.step}:"
                " the model overfits. More or more varied data helps; so do fewer epochs and a lower learning rate."
            )


def _entry(state: TrainerState, logs: dict[str, float]) -> Entry | None:
    """What the trainer logs, in our words; None for its summary at the end."""
    if "loss" not in logs and VALIDATION not in logs:
        return None
    return Entry(
        step=state.global_step,
        epoch=round(state.epoch or 0.0, 4),
        loss=logs.get("loss"),
        learning_rate=logs.get("learning_rate"),
        gradient=logs.get("grad_norm"),
        validation=logs.get(VALIDATION),
    )
