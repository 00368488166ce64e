"""Tasks of lm-evaluation-harness beside one's own examples."""

import json
from pathlib import Path

import pytest

from scripts.evaluation.case_study import TITLES
from scripts.evaluation.evaluate import evaluate
from scripts.evaluation.metrics import METRICS
from scripts.evaluation.order import Order
from scripts.evaluation.page import render
from scripts.reporting import Reporter
from server.errors import InvalidValue
from tests.converters.test_tasks import CAPITALS, TASK

from .endpoint import data


def test_every_metric_has_a_title() -> None:
    assert set(METRICS) <= set(TITLES)


def test_a_folder_is_needed(tmp_path: Path) -> None:
    told = Order(targets=("http://127.0.0.1:9/v1#m",), data=data(tmp_path, [("a", "a")]), tasks=("capitals",))
    with pytest.raises(InvalidValue, match="--tasks needs --tasks-dir"):
        evaluate(told, Reporter(None))


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_task_stands_in_the_report(real_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    items = [{"country": country, "choices": choices, "answer": answer} for country, choices, answer in CAPITALS]
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "capitals.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items))
    (tasks / "capitals.yaml").write_text(TASK)
    told = Order(
        targets=(str(real_model),),
        data=data(tmp_path, [("a", "a")]),
        max_tokens=2,
        timed=0,
        tasks=("capitals",),
        tasks_dir=tasks,
    )
    made = evaluate(told, Reporter(None))
    [name] = [name for name in made.targets[0].metrics if name.startswith("capitals.")]
    assert made.targets[0].metrics[name].value == 1.0
    assert made.targets[0].metrics[name].n == 2
    assert "capitals" in render(made)
