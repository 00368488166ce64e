"""The likeliest logits of a teacher over all training examples, in a file: the teacher runs once, not every epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from converters.appearing import appearing

from ..finetuning.batches import Collator, inputs_of
from ..finetuning.encoding import IGNORED, Encoded

FILE = "logits.safetensors"
ROWS = 8  # examples that the teacher reads at once


class Cache:
    """`tokens` and `values` [positions, k], of all examples one after the other; `starts` [examples + 1]."""

    def __init__(self, folder: Path) -> None:
        with safe_open(folder / FILE, "pt") as file:
            self._tokens, self._values, self._starts = (file.get_tensor(n) for n in ("tokens", "values", "starts"))

    def of(self, examples: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens and logits of the learned positions of some examples, in their order."""
        rows = torch.cat([torch.arange(int(self._starts[i]), int(self._starts[i + 1])) for i in examples])
        return self._tokens[rows].to(device, torch.long), self._values[rows].to(device, torch.float32)


def write(
    teacher: Any, encoded: Sequence[Encoded], count: int, padding: int, folder: Path, told: Callable[[float], None]
) -> None:
    """The teacher's `count` likeliest logits; half precision, since they are only compared."""
    tokens, values, starts = [], [], [0]
    collate = Collator(padding)
    for start in range(0, len(encoded), ROWS):
        part = encoded[start : start + ROWS]
        batch = {name: tensor.to(teacher.device) for name, tensor in collate(part).items()}
        with torch.no_grad():
            logits = teacher.eval()(**inputs_of(batch), use_cache=False).logits
        learned = batch["labels"] != IGNORED
        best = logits[learned].float().topk(min(count, logits.shape[-1]))
        tokens.append(best.indices.to(torch.int32).cpu())
        values.append(best.values.half().cpu())
        starts += (starts[-1] + learned.sum(-1).cumsum(0).cpu()).tolist()
        told(min(1.0, (start + ROWS) / len(encoded)))
    with appearing(folder) as partial:
        parts = {"tokens": torch.cat(tokens), "values": torch.cat(values), "starts": torch.tensor(starts)}
        save_file(parts, partial / FILE)
