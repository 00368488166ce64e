"""The validation loss."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scripts import examples
from scripts.finetuning.arguments import VALIDATION
from scripts.finetuning.batches import Collator
from scripts.finetuning.encoding import IGNORED, Encoder, load_tokenizer
from scripts.finetuning.model import load_model
from scripts.finetuning.objective import NextToken
from scripts.finetuning.recipe import Recipe
from scripts.finetuning.trainer import build

pytestmark = pytest.mark.real


class NoDoubles(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A device without floats of 64 bits, as Apple's GPUs are."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs what was asked for."""
        made = func(*args, **(kwargs or {}))
        wide = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64]
        assert not wide, f"{func} made a tensor of float64"
        return made


def test_validation_is_exact_without_floats_of_64_bits(small: Path, data: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(small), load_tokenizer(small)
    encoded = Encoder(tokenizer, 256).all(examples.read(data / "validation.jsonl"), "validation.jsonl")
    fields = {"base": str(small), "data": data, "batch": 5, "precision": "fp32"}
    trainer = build(
        Recipe.model_validate(fields), model, (encoded, encoded), tmp_path,
        padding=tokenizer.pad_token_id, steps=1, begins=True, objective=NextToken(), callbacks=(),
    )  # fmt: skip
    with NoDoubles():  # type: ignore[no-untyped-call]
        found = trainer.evaluate()[VALIDATION]
    batch = Collator(tokenizer.pad_token_id)(encoded)
    with torch.no_grad():
        expected = NextToken()(model.eval(), batch) / (batch["labels"] != IGNORED).sum()
    assert found == pytest.approx(float(expected), rel=1e-5)
