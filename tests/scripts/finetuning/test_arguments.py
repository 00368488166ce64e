"""What a device and its processes cannot do is said before anything is loaded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts.finetuning.arguments import check, shares
from scripts.finetuning.recipe import Recipe
from scripts.finetuning.train import train
from scripts.reporting import Reporter
from server.errors import InvalidValue
from server.settings import Settings


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"base": "nowhere", "data": "nowhere"} | fields)


@pytest.mark.parametrize(
    ("batch", "micro", "count", "expected"),
    [(12, 4, 1, (4, 3)), (16, 4, 2, (4, 2)), (16, 16, 2, (8, 1)), (6, None, 3, (2, 1))],
)
def test_a_step_is_shared_without_rest(batch: int, micro: int | None, count: int, expected: tuple[int, int]) -> None:
    at_once, times = shares(recipe(batch=batch, micro_batch=micro), count)
    assert (at_once, times) == expected
    assert at_once * times * count == batch


@pytest.mark.parametrize(
    ("batch", "micro", "complaint"),
    [
        (12, 4, "batch 12 is 6 for each of 2 processes, no multiple of micro_batch 4"),
        (15, None, "batch 15 is no multiple of 2 processes"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(
    batch: int, micro: int | None, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be fewer examples a step than the recipe says."""
    monkeypatch.setattr("scripts.finetuning.arguments.processes", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(InvalidValue, match=complaint):
        check(recipe(batch=batch, micro_batch=micro))


def test_half_precision_on_a_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.finetuning.arguments.on_processor", lambda: True)
    with pytest.raises(InvalidValue, match="fp16 is for GPUs"):
        check(recipe(precision="fp16"))
    monkeypatch.setattr("scripts.finetuning.arguments.on_processor", lambda: False)
    check(recipe(precision="fp16"))


def test_one_process_and_several_gpus_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would multiply the batch, and tear apart the positions whose logits are kept."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InvalidValue, match=r"There are 2 GPUs.*torchrun --nproc-per-node 2.*CUDA_VISIBLE_DEVICES=0"):
        train(recipe(precision="fp32"), tmp_path / "run", Settings(home=tmp_path), Reporter(None))
