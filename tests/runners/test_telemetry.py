"""ONNX Runtime's own telemetry: what is to be reported it keeps in a database of the user's cache first."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.environment import child_environment


def test_a_child_keeps_nothing_to_report(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    command = [sys.executable, "-P", "-c", "import onnxruntime"]
    subprocess.run(command, env=child_environment() | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*"))


def test_a_converter_that_a_person_runs_keeps_nothing_either(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    environment = child_environment() | {"HOME": str(tmp_path)}
    del environment["ORT_DISABLE_TELEMETRY"]
    program = "from server import environment; environment.forbid_telemetry(); import onnxruntime"
    command = [sys.executable, "-P", "-c", program]
    subprocess.run(command, env=environment, check=True)
    assert not list(tmp_path.rglob("*"))
