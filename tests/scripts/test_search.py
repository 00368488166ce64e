"""A search that finds what helps, prunes what does not, and goes on after a kill."""

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from transformers import TrainerControl, TrainerState

from scripts.finetuning.arguments import VALIDATION
from scripts.finetuning.recipe import Recipe
from scripts.finetuning.watching import read_log
from scripts.reporting import Reporter
from scripts.searching.recipe import load
from scripts.searching.search import Found, search
from server.errors import CupolaError, InvalidValue
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
    kept = [path.parent.name for path in folder.glob("trial-*/model")]
    assert kept == [f"trial-{found.best.number}"]
    page = found.report.read_text()
    assert page.count("<svg") >= 2
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_trial_that_is_worse_than_those_before_is_pruned(small: Path, data: Path, tmp_path: Path) -> None:
    path, folder = write(tmp_path, small, data, trials=2), tmp_path / "search"
    folder.mkdir()
    study = optuna.create_study(study_name="study", storage=f"sqlite:///{folder / 'study.db'}")
    for rate in (5e-3, 1e-6):
        study.enqueue_trial({"learning_rate": rate, "bottleneck.size": 8})
    found = search(load(path), path, folder, Settings(), Told())
    assert [trial.state for trial in found.trials] == ["complete", "pruned"]
    whole, stopped = (read_log(folder / f"trial-{number}" / "log.jsonl") for number in range(2))
    assert (whole[-1].step, stopped[-1].step) == (12, 4)
    assert found.trials[1].loss == pytest.approx([one.validation for one in stopped if one.validation][-1])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that end at once; the higher the learning rate, the higher the loss."""

    def train(recipe: Recipe, folder: Path, settings: Settings, reporter: Reporter, watching: list[Any]) -> None:
        (folder / "model").mkdir(parents=True)
        for callback in watching:
            callback.on_evaluate(None, TrainerState(global_step=4), TrainerControl(), {VALIDATION: recipe.rate})

    monkeypatch.setattr("scripts.searching.search.train", train)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_that_goes_on_tries_other_values(sampler: str, small: Path, data: Path, tmp_path: Path) -> None:
    told = {"space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}, "sampler": sampler}
    for trials in (2, 4):
        path = write(tmp_path, small, data, trials=trials, **told)
        found = search(load(path), path, tmp_path / "search", Settings(), Told())
    assert len({trial.values["learning_rate"] for trial in found.trials}) == len(found.trials) == 4


def test_a_search_whose_every_trial_diverges_says_so(small: Path, data: Path, tmp_path: Path) -> None:
    told = QUICK | {"base": str(small), "data": str(data), "method": "full", "steps": 2, "evaluate_every": 2}
    path = write(tmp_path, small, data, trials=1, finetune=told, space={"learning_rate": [1e30]})
    with pytest.raises(CupolaError, match="No trial came to a loss"):
        search(load(path), path, tmp_path / "search", Settings(), Told())


@pytest.mark.usefixtures("quick")
def test_a_folder_is_of_one_search(small: Path, data: Path, tmp_path: Path) -> None:
    fields = yaml.safe_load(write(tmp_path, small, data).read_text())
    more = tmp_path / "more"
    shutil.copytree(data, more)
    with (more / "train.jsonl").open("ab") as file:
        file.write((data / "test.jsonl").read_bytes())

    def run(trials: int = 1, space: dict[str, Any] | None = None, **finetune: Any) -> Found:
        told = {"finetune": fields["finetune"] | finetune, "space": fields["space"] | (space or {})}
        path = write(tmp_path, small, data, trials=trials, sampler="random", **told)
        return search(load(path), path, tmp_path / "search", Settings(), Told())

    with pytest.raises(InvalidValue, match="There is no file"):
        run(data=str(tmp_path / "gone"))
    run()
    with pytest.raises(InvalidValue, match="with another steps"):
        run(steps=13)
    with pytest.raises(InvalidValue, match="with another space"):
        run(space={"learning_rate": [1e-6, 1e-3]})
    with pytest.raises(InvalidValue, match=r"with another data.*data_sha256"):
        run(data=str(more))
    assert len(run(trials=2).trials) == 2


@pytest.mark.usefixtures("quick")
def test_the_name_of_the_folder_may_be_any(small: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "which? 50% #1"
    for trials in (1, 2):
        path = write(tmp_path, small, data, trials=trials)
        assert len(search(load(path), path, folder, Settings(), Told()).trials) == trials
    assert (folder / "study.db").is_file()


@pytest.mark.usefixtures("quick")
def test_a_study_that_is_none_is_told_of_and_kept(small: Path, data: Path, tmp_path: Path) -> None:
    path, folder = write(tmp_path, small, data, trials=1), tmp_path / "search"
    search(load(path), path, folder, Settings(), Told())
    (folder / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(InvalidValue, match=r"study\.db is no study of a search"):
        search(load(path), path, folder, Settings(), Told())
    assert (folder / "study.db").read_bytes().startswith(b"no database")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"space": {}}, "space"),
        ({"space": {"learning_rat": [1, 2]}}, "learning_rat: there is no such field .did you mean learning_rate"),
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
