"""Encoded examples as tensors: rows padded on the left, or packed into one row."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .encoding import IGNORED, Encoded

Batch = dict[str, Tensor]
OURS = ("labels", "examples")  # of a batch: what the model is not given


def inputs_of(batch: Batch) -> Batch:
    """What the model is given of a batch."""
    return {name: tensor for name, tensor in batch.items() if name not in OURS}


@dataclass(frozen=True, slots=True)
class Collator:
    """`labels` [rows, kept] are what is predicted at the positions `logits_to_keep` [kept] of `input_ids`.

    Only those positions have logits computed. Rows end together, so that the answers of a batch share positions.
    """

    padding: int

    def __call__(self, examples: Sequence[Encoded]) -> Batch:
        length = max(len(example.tokens) for example in examples)
        tokens = torch.full((len(examples), length), self.padding)
        labels = torch.full((len(examples), length), IGNORED)
        mask = torch.zeros((len(examples), length), dtype=torch.long)
        for row, example in enumerate(examples):
            size = len(example.tokens)
            tokens[row, length - size :] = torch.tensor(example.tokens)
            labels[row, length - size :] = torch.tensor(example.labels)
            mask[row, length - size :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        batch = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions}
        return _kept(batch, labels) | _numbers(examples)


@dataclass(frozen=True, slots=True)
class Packer:
    """All examples of a batch in one row; positions begin anew, by which transformers keeps them apart."""

    def __call__(self, examples: Sequence[Encoded]) -> Batch:
        tokens = torch.tensor([[token for example in examples for token in example.tokens]])
        positions = torch.cat([torch.arange(len(example.tokens)) for example in examples])[None]
        labels = torch.tensor([[label for example in examples for label in [IGNORED, *example.labels[1:]]]])
        return _kept({"input_ids": tokens, "position_ids": positions}, labels) | _numbers(examples)


def _kept(batch: Batch, labels: Tensor) -> Batch:
    """Position t predicts what stands at t + 1; positions that predict nothing learned are left out."""
    targets = torch.cat([labels[:, 1:], torch.full((len(labels), 1), IGNORED)], dim=1)
    kept = (targets != IGNORED).any(0).nonzero()[:, 0]
    return {**batch, "labels": targets[:, kept], "logits_to_keep": kept}


def _numbers(examples: Sequence[Encoded]) -> Batch:
    """Which examples of the split they are."""
    return {"examples": torch.tensor([example.number for example in examples])}
