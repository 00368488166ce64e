"""A search that finds what helps, prunes what does not, and goes on after a kill."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from scripts.searching.recipe import load
from scripts.searching.search import search
from server.errors import InvalidValue
from server.settings import Settings
from tests.scripts.finetuning.test_train import QUICK, Told

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def write(folder: Path, small: Path, data: Path, **fields: Any) -> Path:
    told = QUICK | {"base": str(small), "data": str(data), "method": "full", "steps": 12, "evaluate_every": 4}
    space = {"learning_rate": [1e-6, 5e-3], "bottleneck.size": {"low": 8, "high": 16, "whole": True}}
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump({"finetune": told, "space": space, "trials": 5, "warmup_trials": 1} | fields))
    return path


def test_the_better_learning_rate_wins_and_a_second_run_adds_what_is_left(
    small: Path, data: Path, tmp_path: Path
) -> None:
    path, folder = write(tmp_path, small, data, trials=3), tmp_path / "search"
    first = search(load(path), path, folder, Settings(), Told())
    assert len(first.trials) == 3
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder / 'study.db'}")
    study.ask()  # as a kill in a trial leaves it
    path = write(tmp_path, small, data, trials=5)
    found = search(load(path), path, folder, Settings(), Told())
    assert len(found.trials) == 5
    assert found.best.values["learning_rate"] == 5e-3
    assert [trial.state for trial in found.trials if trial.values["learning_rate"] == 1e-6][-1] in {
        "pruned",
        "complete",
    }
    kept = [path.parent.name for path in folder.glob("trial-*/model")]
    assert kept == [f"trial-{found.best.number}"]
    page = found.report.read_text()
    assert page.count("<svg") >= 2
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"space": {}}, "space"),
        ({"space": {"learning_rat": [1, 2]}}, "learning_rat: Extra inputs"),
        ({"space": {"learning_rate": {"low": 2, "high": 1}}}, "low 2 is not below high 1"),
        ({"space": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "begins above 0"),
        ({"trials": 0}, "trials"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    fields: dict[str, Any], complaint: str, small: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        load(write(tmp_path, small, data, **fields))
