"""Where processes meet, and who goes first."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scripts.finetuning.processes import on_processor
from scripts.finetuning.recipe import Recipe
from scripts.finetuning.train import train
from scripts.reporting import Reporter
from server.errors import InvalidValue
from server.settings import Settings


@pytest.mark.parametrize(
    ("cuda", "apple", "several", "expected"),
    [
        (True, False, True, False),
        (False, True, False, False),
        (False, True, True, True),
        (False, False, False, True),
    ],
)
def test_several_processes_meet_on_cuda_or_on_the_processor(
    cuda: bool, apple: bool, several: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: several)
    assert on_processor() == expected


def test_one_process_makes_a_base_a_checkpoint_before_the_others_look(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    @contextmanager
    def main_process_first() -> Iterator[None]:
        yield
        done.append("the others")

    def find_checkpoint(*_: object) -> Path:
        done.append("a base")
        return tmp_path

    def load_tokenizer(_: Path) -> None:
        raise InvalidValue("far enough")

    one = SimpleNamespace(main_process_first=main_process_first)
    monkeypatch.setattr("scripts.finetuning.train.processes", lambda: one)
    monkeypatch.setattr("scripts.finetuning.train.find_checkpoint", find_checkpoint)
    monkeypatch.setattr("scripts.finetuning.train.load_tokenizer", load_tokenizer)
    told = Recipe.model_validate({"base": "b", "data": data, "precision": "fp32"})
    with pytest.raises(InvalidValue, match="far enough"):
        train(told, tmp_path / "run", Settings(home=tmp_path), Reporter(None))
    assert done == ["a base", "the others"]
