"""transformers' Trainer with an objective of ours, and a validation loss that is exact whatever the batches are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback

from .arguments import VALIDATION, arguments
from .batches import Batch, Collator, Packer
from .encoding import IGNORED, Encoded
from .objective import NextToken, Objective
from .recipe import Recipe


class Examples(Dataset[Encoded]):
    """Encoded examples, in order."""

    def __init__(self, encoded: Sequence[Encoded]) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> Encoded:
        return self._encoded[index]


class ObjectiveTrainer(Trainer):
    """The loss of a step is the objective's sum over all processes and accumulated batches, a learned token."""

    loss_is_scaled_for_ga = True

    def __init__(self, objective: Objective, **settings: Any) -> None:
        super().__init__(**settings)
        self._loss_shifts_labels = False  # the collator did: all of them count
        self._objective = objective
        self._validation: Objective = NextToken()

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The count is of all processes, whose gradients are averaged: their number makes them a sum again."""
        del return_outputs
        count = (inputs["labels"] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return self._objective(model, inputs) * self.accelerator.num_processes / count

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean surprise of a learned token over all validation examples, in nats."""
        started = self.state.global_step
        loss = self._mean(self.eval_dataset)
        metrics = {VALIDATION: loss, "step": float(started)}
        self.log({VALIDATION: loss})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _mean(self, examples: Any) -> float:
        """Every process takes its share. Summed as Python's floats, since Apple's GPUs have none of 64 bits."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine = [examples[index] for index in range(rank, len(examples), processes)]
        total, count = 0.0, 0
        model: Any = self.model
        model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for start in range(0, len(mine), self.args.per_device_eval_batch_size):
                batch = self._prepare_inputs(
                    self.data_collator(mine[start : start + self.args.per_device_eval_batch_size])
                )
                total += float(self._validation(model, batch))
                count += int((batch["labels"] != IGNORED).sum())
        totals, counts = zip(*gather_object([(total, count)]), strict=True)
        return float(sum(totals) / sum(counts))


def build(
    recipe: Recipe,
    model: Any,
    data: tuple[Sequence[Encoded], Sequence[Encoded]],
    folder: Path,
    *,
    padding: int,
    steps: int,
    begins: bool,
    objective: Objective,
    callbacks: Sequence[TrainerCallback],
) -> ObjectiveTrainer:
    """A trainer of (train, validation) whose checkpoints go into `folder`."""
    collate = Packer() if recipe.packing else Collator(padding)
    trainer = ObjectiveTrainer(
        objective,
        model=model,
        args=arguments(recipe, folder, steps, begins=begins),
        data_collator=collate,
        train_dataset=Examples(data[0]),
        eval_dataset=Examples(data[1]),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
