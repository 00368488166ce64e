"""Tasks of lm-evaluation-harness: what is refused, and what a report shows of them."""

import json
from pathlib import Path

import pytest

from converters.report.tasks import TaskOrder, scores
from converters.serving import serving_artifact
from server.errors import CupolaError, InvalidValue

URL = "http://127.0.0.1:9/v1"  # nobody listens; none of these gets that far


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="--tasks-dir"):
        scores(TaskOrder(URL, "model", ["capitals"], str(tmp_path / "none")))


def test_an_unknown_task_lists_the_known_ones(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "known.yaml").write_text("task: known\ndataset_path: json\noutput_type: multiple_choice\n")
    with pytest.raises(CupolaError, match=r"There is no task capitals in .*; there are: known"):
        scores(TaskOrder(URL, "model", ["capitals"], str(tmp_path)))


CAPITALS = [("France", ["Paris", "Rome", "Tokyo"], 0), ("Italy", ["Madrid", "Rome", "Cairo"], 1)]
TASK = """
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: capitals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_target: answer
doc_to_choice: choices
metric_list: [{metric: acc}]
"""


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_task_is_asked_of_the_very_artifact_through_a_server(real_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    items = [{"country": country, "choices": choices, "answer": answer} for country, choices, answer in CAPITALS]
    (tmp_path / "capitals.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items))
    (tmp_path / "capitals.yaml").write_text(TASK)
    with serving_artifact("smollm2", str(real_model), "llama") as (server, model):
        assert model == "measured@llama"
        found = scores(TaskOrder(server.api, model, ["capitals"], str(tmp_path)))
    [accuracy] = [score for score in found if score.metric.startswith("acc")]
    assert (accuracy.task, accuracy.value, accuracy.count) == ("capitals", 1.0, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capitals.jsonl", "capitals.yaml"]
