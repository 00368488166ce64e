"""What docs/api.md shows of clients runs as it stands, but for the address."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..serving import RunningServer
from .node import Program

pytestmark = pytest.mark.real

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "api.md"


def snippets(language: str) -> list[str]:
    """The blocks of a language in the section on clients."""
    section = DOCUMENT.read_text().split("\n## Clients\n")[1].split("\n## ")[0]
    return [block.split("```")[0] for block in section.split(f"```{language}\n")[1:]]


@pytest.mark.parametrize("source", snippets("python"), ids=["langchain", "litellm"])
def test_python(real_server: RunningServer, source: str) -> None:
    command = [sys.executable, "-P", "-c", source.replace("http://127.0.0.1:5272", real_server.url)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Paris" in ran.stdout


def test_javascript(real_server: RunningServer, ai_sdk: Program) -> None:
    [source] = snippets("js")
    assert "Paris" in ai_sdk.evaluate(source.replace("http://127.0.0.1:5272", real_server.url))
