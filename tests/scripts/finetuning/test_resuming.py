"""Several processes on one folder of checkpoints."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers.trainer_callback import TrainerState

from scripts.finetuning.resuming import STATE, last_whole


@pytest.mark.parametrize("is_main", [True, False])
def test_the_main_process_removes_what_is_half_and_the_others_wait(
    is_main: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, half = tmp_path / "checkpoint-4", tmp_path / "checkpoint-8"
    for folder in (whole, half):
        folder.mkdir()
    TrainerState().save_to_json(str(whole / STATE))
    is_left: list[bool] = []
    one = SimpleNamespace(is_main_process=is_main, wait_for_everyone=lambda: is_left.append(half.exists()))
    monkeypatch.setattr("scripts.finetuning.resuming.processes", lambda: one)
    assert last_whole(tmp_path) == whole
    assert is_left == [not is_main], "removed before the others go on, and by one"
