"""The teacher's part in the loss of a batch: its distributions, its hidden states, its attention."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from server.errors import InvalidValue

from ..finetuning.batches import Batch, inputs_of
from ..finetuning.encoding import IGNORED
from ..finetuning.objective import cross_entropy
from .cache import Cache
from .divergence import divergence
from .recipe import DistillRecipe, Layers, Logits

Pairs = list[tuple[int, int]]


class Distillation:
    """share * T^2 * divergence + (1 - share) * cross-entropy + the layers' losses, summed over learned positions."""

    def __init__(self, logits: Logits, layers: Layers, teacher: Any, pairs: Pairs) -> None:
        self._told, self._layers = logits, layers
        self._teacher = teacher.eval().requires_grad_(False)
        self._pairs = pairs
        self._inner = {
            "output_hidden_states": layers.hidden > 0,
            "output_attentions": layers.attention > 0,
        }

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """One forward of each."""
        inputs = inputs_of(batch)
        with torch.no_grad():
            teacher = self._teacher(**inputs, use_cache=False, **self._inner)
        student = model(**inputs, use_cache=False, **self._inner)
        learned = batch["labels"] != IGNORED
        s, t = student.logits[learned].float(), teacher.logits[learned].float()
        width = min(s.shape[-1], t.shape[-1])  # one of them may be padded to a round number
        loss = mixed(s, t[:, :width], batch["labels"][learned], self._told)
        count = learned.sum()
        if self._layers.hidden:
            loss = loss + self._layers.hidden * count * self._hidden(student, teacher, batch)
        if self._layers.attention:
            loss = loss + self._layers.attention * count * self._attention(student, teacher, batch)
        return loss

    def _hidden(self, student: Any, teacher: Any, batch: Batch) -> Tensor:
        """Mean over pairs and tokens; hidden_states[0] is what enters the first block."""
        real = _real(batch)
        parts = [
            functional.mse_loss(
                functional.normalize(student.hidden_states[mine + 1][real].float(), dim=-1),
                functional.normalize(teacher.hidden_states[theirs + 1][real].float(), dim=-1),
                reduction="sum",
            )
            for mine, theirs in self._pairs
        ]
        return torch.stack(parts).mean() / real.sum()

    def _attention(self, student: Any, teacher: Any, batch: Batch) -> Tensor:
        """KL(teacher || student) of attention [rows, heads, queries, keys], mean over pairs, heads and tokens."""
        real = _real(batch)
        parts = []
        for mine, theirs in self._pairs:
            s, t = student.attentions[mine].float(), teacher.attentions[theirs].float()
            each = (t * (t.clamp_min(1e-9).log() - s.clamp_min(1e-9).log())).sum(-1).mean(1)
            parts.append(each[real].sum())
        return torch.stack(parts).mean() / real.sum()


class CachedDistillation:
    """As above with the k likeliest logits of a teacher that ran before, each distribution over those k."""

    def __init__(self, logits: Logits, cache: Cache) -> None:
        self._told, self._cache = logits, cache

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """The student's logits of the same k tokens."""
        student = model(**inputs_of(batch), use_cache=False)
        learned = batch["labels"] != IGNORED
        logits = student.logits[learned].float()
        tokens, values = self._cache.of(batch["examples"].tolist(), logits.device)
        return mixed(logits, values, batch["labels"][learned], self._told, logits.gather(-1, tokens))


def mixed(student: Tensor, teacher: Tensor, targets: Tensor, told: Logits, compared: Tensor | None = None) -> Tensor:
    """`compared`: the student's logits that stand against the teacher's, where those are of a part of all tokens."""
    against = student[:, : teacher.shape[-1]] if compared is None else compared
    apart = divergence(against, teacher, told.divergence, told.temperature) * told.temperature**2
    return told.share * apart + (1 - told.share) * cross_entropy(student, targets)


def spread(student: int, teacher: int, pairs: tuple[tuple[int, int], ...]) -> Pairs:
    """Blocks that are compared; the last with the last, several with one where the student is the deeper.

    Raises InvalidValue for one that is not there.
    """
    if not pairs:
        return [(block, max(0, round((block + 1) * teacher / student) - 1)) for block in range(student)]
    for mine, theirs in pairs:
        if not (0 <= mine < student and 0 <= theirs < teacher):
            raise InvalidValue(
                f"layers.pairs: ({mine}, {theirs}) is not there; there are {student} and {teacher} blocks."
            )
    return list(pairs)


def build(recipe: DistillRecipe, student: Any, teacher: Any) -> Distillation:
    """Raises InvalidValue for layers that cannot be compared."""
    mine, theirs = student.config.get_text_config(), teacher.config.get_text_config()
    if recipe.layers.hidden and mine.hidden_size != theirs.hidden_size:
        raise InvalidValue(
            f"layers.hidden: the student's states are {mine.hidden_size} wide, the teacher's {theirs.hidden_size}."
        )
    if recipe.layers.attention and mine.num_attention_heads != theirs.num_attention_heads:
        raise InvalidValue("layers.attention: student and teacher have to have as many heads.")
    pairs = spread(mine.num_hidden_layers, theirs.num_hidden_layers, recipe.layers.pairs)
    return Distillation(recipe.logits, recipe.layers, teacher, pairs)


def _real(batch: Batch) -> Tensor:
    """[rows, tokens]: what is no padding."""
    mask = batch.get("attention_mask")
    return torch.ones_like(batch["input_ids"], dtype=torch.bool) if mask is None else mask.bool()
