"""The commands that write the data of the worked examples."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from converters.program import build
from scripts import commands

COMMANDS = {
    "device-commands": {"train": 6, "validation": 2, "test": 3},
    "table-queries": {"requests": 4, "test": 3},
}


def told(command: str, folder: Path) -> list[str]:
    counts = [word for name, count in COMMANDS[command].items() for word in (f"--{name}", str(count))]
    return [command, str(folder), *counts]


def last_line(words: list[str]) -> dict[str, Any]:
    with subprocess.Popen(
        [sys.executable, "-m", "scripts", *words, "--json"],
        stdin=subprocess.PIPE,  # open as long as somebody waits for the result
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.read().splitlines()[-1])
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_person_reads_a_sentence_and_a_program_json(command: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(build(commands, ""), told(command, tmp_path / "one"))
    assert said.stdout.startswith(f"{tmp_path / 'one'}: ")
    assert last_line(told(command, tmp_path / "two")) == {"folder": str(tmp_path / "two"), **COMMANDS[command]}
    for name, count in COMMANDS[command].items():
        [one, two] = ((tmp_path / folder / f"{name}.jsonl").read_bytes() for folder in ("one", "two"))
        assert one == two
        assert len(one.splitlines()) == count
    assert "exists already" in last_line(told(command, tmp_path / "two"))["error"]


def test_every_tool_prints_json_for_programs() -> None:
    tools = get_command(build(commands, ""))
    assert isinstance(tools, TyperGroup)
    assert set(COMMANDS) < set(tools.commands)
    for name, tool in tools.commands.items():
        assert any("--json" in parameter.opts for parameter in tool.params), name
