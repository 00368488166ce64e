"""docs/operations.md names settings, commands, files and metrics that exist."""

import re
from pathlib import Path

import pytest
import typer

from server import errors
from server.cli import app as command
from server.settings import Settings

from .test_prometheus import PANELS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text()
SETTINGS = sorted(set(re.findall(r"\bCUPOLA_([A-Z_]+)\b", TEXT)) - {"NAME"})
COMMANDS = sorted(set(re.findall(r"(?:bin/|`|&& )cupola ([a-z][a-z-]+)", TEXT)))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_exists(name: str) -> None:
    assert name.lower() in Settings.model_fields


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_exists(name: str) -> None:
    group = typer.main.get_command(command)
    assert isinstance(group, typer.core.TyperGroup)
    assert name in group.list_commands(typer.Context(group))


@pytest.mark.parametrize("place", sorted(set(re.findall(r"\b(?:deploy|docs)/[\w./-]+\w", TEXT))))
def test_a_file_exists(place: str) -> None:
    assert (ROOT / place).exists()


def test_a_panel_that_is_named_exists() -> None:
    titles = {panel["title"] for panel in PANELS}
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", TEXT)) <= titles


def test_a_code_of_an_error_exists() -> None:
    """Codes are written as `word_word`, as no setting or command is."""
    known = {kind.code for kind in errors._descendants(errors.CupolaError)}
    section = TEXT[TEXT.index("### CupolaErrors") :]
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", section)) - {"credentials_file"} <= known
