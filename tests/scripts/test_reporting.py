"""What tools say while they work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.reporting import reporting


def test_without_a_terminal_a_line_says_what_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=False) as reporter:
        reporter.say("full of small: 40 examples, 10 steps.")
        for step in range(10):
            reporter.step(step / 10, f"step {step}", loss=0.5)
    out, err = capfd.readouterr()
    assert out == "", "it is the result's alone"
    assert err.splitlines() == ["full of small: 40 examples, 10 steps.", "  0%  step 0  loss 0.5"]


def test_for_a_program_every_step_is_a_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.reporting.end_with_parent", lambda: None)
    with reporting(as_json=True) as reporter:
        for step in range(3):
            reporter.step(step / 4, f"step {step}")
    assert [json.loads(line).get("fraction", 0) for line in capfd.readouterr().out.splitlines()] == [0, 0.25, 0.5]


TOOL = """
import time
from scripts.reporting import reporting
with reporting(as_json=True) as reporter:
    time.sleep(1)
    reporter.say("done")
"""


def test_for_a_program_it_ends_with_the_pipe_that_the_program_holds() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", TOOL], input="", capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.parametrize("given", ["nothing", "a file", "closed"])
def test_without_a_pipe_nobody_is_waited_for(given: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    source = {"nothing": "</dev/null", "a file": f"<{tmp_path / 'empty'}", "closed": "<&-"}[given]
    command = f'exec "{sys.executable}" -P -c "$1" {source}'
    ended = subprocess.run(["/bin/sh", "-c", command, "sh", TOOL], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {"doing": "done"}
