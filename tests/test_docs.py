"""Documents that are checked: every route, setting and command stands in them."""

from pathlib import Path

import pytest
import typer
from fastapi.routing import APIRoute

from server.app import ROUTES as MODULES
from server.cli import app as command
from server.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
ROUTES = [route.path for module in MODULES for route in module.router.routes if isinstance(route, APIRoute)]
COMMANDS = typer.main.get_command(command).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_documented(route: str) -> None:
    assert f"{route}`" in (DOCS / "api.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`CUPOLA_{name.upper()}`" in (DOCS / "configuration.md").read_text()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented_with_an_example(name: str) -> None:
    assert f"`cupola {name}" in (DOCS / "cli.md").read_text()
    assert "Examples:" in (COMMANDS[name].load().epilog or "")
