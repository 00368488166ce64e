"""Tasks of lm-evaluation-harness: what is refused, and what a report shows of them."""

from pathlib import Path

import pytest

from converters.report.tasks import TaskOrder, scores
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
