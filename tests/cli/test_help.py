"""Every command says what it does and how, without what it does not need, and answers programs in JSON."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from server.cli import app
from server.cli.arguments import model_names
from server.cli.listing import COMMANDS, Listed
from server.environment import child_environment

# Commands whose output is no report of what was done.
NO_JSON = {
    "serve": "runs until it is ended, and what it prints is its log (CUPOLA_LOG_FORMAT)",
    "bom": "what it prints is JSON already, of a format of its own",
}
HELP_SECONDS = 0.3
GROUP: Any = typer.main.get_command(app)


def commands() -> Iterator[tuple[str, ...]]:
    """The words of each command, those of groups included."""
    for name, listed in GROUP.commands.items():
        yield (name,)
        yield from ((name, sub) for sub in getattr(listed.load(), "commands", ()))


def command(words: tuple[str, ...]) -> Any:
    found = GROUP.commands[words[0]].load()
    for word in words[1:]:
        found = found.commands[word]
    return found


def completed(words: str, **environment: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    count = str(len(words.split(" ")) - 1)
    asked = {"_CUPOLA_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count} | environment
    done = subprocess.run(
        [sys.executable, "-P", "-m", "server"],
        env=child_environment() | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_has_examples(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert f"cupola {words[0]}" in " ".join(shown.output.split())
    assert "[[" not in shown.output  # an argument that may be left out has brackets without being told


def answering() -> list[tuple[str, ...]]:
    """Commands that have to answer in JSON. A group has no answer of its own."""
    return [words for words in commands() if words[0] not in NO_JSON and not hasattr(command(words), "commands")]


@pytest.mark.parametrize("words", answering(), ids=" ".join)
def test_every_command_answers_in_json(words: tuple[str, ...]) -> None:
    assert any("--json" in parameter.opts for parameter in command(words).params)


@pytest.mark.parametrize("listed", GROUP.commands.values(), ids=lambda listed: str(listed.name))
def test_the_list_of_commands_says_what_a_command_says(listed: Listed) -> None:
    assert listed.load().get_short_help_str(300).rstrip(".") == str(listed.help).rstrip(".")


def test_every_file_of_commands_is_listed() -> None:
    folder = Path(__file__).parents[2] / "server" / "cli"
    files = {path.stem for path in folder.glob("*.py") if "def register(" in path.read_text("utf-8")}
    assert files - {"listing"} == {file for panel in COMMANDS.values() for file in panel}


def test_an_unknown_command_is_an_error_that_suggests_one() -> None:
    done = CliRunner().invoke(app, ["serv"])
    assert done.exit_code == 2
    assert "serve" in done.output


def test_help_imports_no_command() -> None:
    code = "import sys; from server.cli import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "httpx", "numpy", "server.settings", "server.models"} & set(done.stdout.split())


@pytest.mark.alone
def test_help_takes_less_than_300_ms() -> None:
    """Processor time, the best of some: what other programs take meanwhile is not ours."""
    taken = []
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-P", "-m", "server", "--help"], stdout=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        taken.append(usage.ru_utime + usage.ru_stime)
    assert min(taken) < HELP_SECONDS


def test_the_shell_completes_commands_and_models(tmp_path: Path) -> None:
    assert completed("cupola unl") == ["unload"]
    assert completed("cupola service st") == ["start", "stop", "status"]
    assert "--force" in completed("cupola unload --f")
    home = {"CUPOLA_HOME": str(tmp_path)}
    assert "smollm2-135m-instruct" in completed("cupola pull smollm2-1", **home)
    assert "smollm2@gguf-q4_1" in completed("cupola show smollm2@gguf", **home)


def test_completion_is_silent_about_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.yaml").write_text("models: 7")
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
    assert model_names("smol") == []


def test_the_shell_learns_to_complete() -> None:
    environment = child_environment() | {"_CUPOLA_COMPLETE": "source_bash"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "server"], env=environment, capture_output=True, text=True, check=True
    )
    assert "_CUPOLA_COMPLETE=complete_bash" in done.stdout
