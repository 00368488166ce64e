"""`cupola quality`, as a user runs it, on a small model."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from server.environment import child_environment

from ..converters.small import Small, write
from ..waiting import wait_for
from .test_run import CUPOLA, cupola


def test_quality_prints_a_table_or_json(tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", Small("llama", tied=False, feed_forward=128))
    done = cupola(tmp_path / "home", "quality", str(model), CUPOLA_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "ARTIFACT" in done.stdout
    assert "float32 forward of small.gguf" in done.stdout
    done = cupola(tmp_path / "home", "quality", str(model), "--json", CUPOLA_THREADS="1")
    found = json.loads(done.stdout)
    assert found["threads"] == 1
    assert [row["artifact"] for row in found["rows"]] == ["small"]


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = cupola(tmp_path, "quality", str(tmp_path / "missing.gguf"))
    assert done.returncode == 1
    assert done.stderr == f"Error: There is no {tmp_path / 'missing.gguf'}.\n"
    done = cupola(tmp_path, "quality", "nothing-like-it")
    assert done.returncode == 1
    assert "nothing-like-it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_nothing_of_it_is_left(number: signal.Signals, tmp_path: Path) -> None:
    """Neither the program that measures, nor the one that holds the model, nor logits among the temporary files."""
    model = write(tmp_path / "small.gguf", Small("llama", tied=False, feed_forward=128))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = child_environment() | {"CUPOLA_HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)}
    command = [*CUPOLA, "quality", str(model)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        started = psutil.Process(process.pid)
        wait_for(lambda: any("converters.report.probe" in child.cmdline() for child in below(started)), 60.0)
        children = below(started)
        process.send_signal(number)
    wait_for(lambda: not any(map(runs, children)), 10.0)
    wait_for(lambda: not list(temporary.glob("cupola-quality-*")))


def below(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if runs(child)]


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
