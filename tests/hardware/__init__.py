"""Tests of `server.hardware`."""

from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"


def published(name: str) -> str:
    """Output that somebody published; fixtures/README.md says who."""
    return (FIXTURES / name).read_text()
