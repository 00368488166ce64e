"""`cupola pull list show rm add`, as typed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from server.cli import models, pull
from server.cli.progress import PlainLines, megabytes
from server.errors import CupolaError, InvalidValue, ModelNotFound, ModelNotPulled, SourceNotFound
from server.models.progress import Progress
from server.models.registry import Registry
from server.models.store import Store
from server.settings import load_settings

from .conftest import REPO, WEIGHTS
from .hub import Hub
from .test_adopt import HEADER

Cupola = Callable[..., str]
OVERLAY = f"""models:
  - name: tiny
    aliases: [little]
    licence: MIT
    context_length: 64
    variants:
      - name: gguf-q4
        format: gguf
        quantization: Q4_0
        source: {{type: huggingface, repo: {REPO}, files: [tiny.gguf]}}
"""


@pytest.fixture
def cupola(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> Cupola:
    """The command line, with a home that knows `tiny`. Returns what is printed; raises what main() would catch."""
    monkeypatch.setenv("CUPOLA_HOME", str(home))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    home.mkdir()
    (home / "models.yaml").write_text(OVERLAY)
    app = typer.Typer()
    pull.register(app)
    models.register(app)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, CupolaError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_pull_show_list_and_remove(cupola: Cupola, home: Path) -> None:
    assert "tiny@gguf-q4 is ready (1.5 MB)" in cupola("pull", "little")
    about = json.loads(cupola("show", "tiny", "--json"))
    assert about["aliases"] == ["little"]
    assert Path(about["variants"][0]["path"]).read_bytes() == WEIGHTS
    rows = json.loads(cupola("list", "--pulled", "--json"))["models"]
    assert [(row["name"], row["pulled"], row["verified"]) for row in rows] == [
        ("fake", True, True),
        ("tiny", True, False),
    ]
    assert rows[1]["size"] == len(WEIGHTS)
    assert "Removed tiny: 1.5 MB freed." in cupola("rm", "tiny")
    assert not any(home.glob("blobs/*"))
    with pytest.raises(ModelNotPulled, match="has no files here"):
        cupola("rm", "tiny")


def test_a_pull_that_fails_is_one_line_and_a_status(cupola: Cupola, hub: Hub) -> None:
    with pytest.raises(ModelNotFound) as unknown:
        cupola("pull", "nothing")
    del hub.repos[REPO]
    with pytest.raises(SourceNotFound) as absent:
        cupola("pull", "tiny")
    for caught in (unknown.value, absent.value):
        assert caught.exit_code != 0
        assert "\n" not in caught.message


def test_the_list_is_for_people(cupola: Cupola) -> None:
    lines = cupola("list").splitlines()
    default = next(number for number, line in enumerate(lines) if line.startswith("smollm2-135m-instruct"))
    assert "smollm2, smollm2-135m" in lines[default]
    assert lines[default].endswith("Apache-2.0")
    assert lines[default + 1].split() == ["gguf-q4_1", "gguf", "Q4_1", "98.4", "MB"]
    assert lines[default + 2].endswith("unverified")
    assert lines[-1].startswith("unverified: ")


def test_show_is_for_people(cupola: Cupola) -> None:
    shown = cupola("show", "smollm2@gguf-q4_1")
    assert "smollm2-135m-instruct@gguf-q4_1" in shown
    assert "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in shown
    assert "8,192" in shown


def test_add_a_file_of_ones_own(cupola: Cupola, home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine-Q8_0.gguf"
    mine.write_bytes(HEADER)
    assert "Next: cupola pull mine" in cupola("add", str(mine), "--name", "mine", "--licence", "MIT")
    cupola("pull", "mine")
    model, variants = Registry.load(home / "models.yaml").resolve("mine")
    manifest = Store(home).manifest(model, variants[0])
    assert manifest is not None
    assert Store(home).path(manifest).read_bytes() == HEADER
    assert (home / "models.yaml").read_text().startswith(OVERLAY)


@pytest.mark.parametrize("name", ["smollm2", "tiny", "little", "phi-4-mini-instruct"])
def test_add_takes_no_name_away(cupola: Cupola, home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.gguf").write_bytes(HEADER)
    with pytest.raises(InvalidValue, match="is the name or alias of a known model"):
        cupola("add", str(tmp_path / "mine.gguf"), "--name", name)
    assert (home / "models.yaml").read_text() == OVERLAY


def test_add_a_repository(cupola: Cupola, home: Path) -> None:
    cupola("add", REPO, "--file", "tiny*.gguf", "--name", "theirs", "--context", "64")
    cupola("pull", "theirs")
    assert len(Store(home).installed()) == 1


def test_ensure_pulled_pulls_what_is_missing_only(cupola: Cupola, hub: Hub) -> None:
    pull.ensure_pulled(load_settings(), "fake")
    assert hub.seen == []
    pull.ensure_pulled(load_settings(), "tiny")
    hub.reset()
    pull.ensure_pulled(load_settings(), "tiny@llama")
    assert hub.seen == []


def test_help_has_examples(cupola: Cupola) -> None:
    for command in ("pull", "list", "show", "rm", "add"):
        assert f"cupola {command}" in cupola(command, "--help")


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines("tiny")
    for done in range(0, 1001, 10):
        lines.report(Progress("a.gguf", done * 1000, 1_000_000, "downloading"))
    lines.report(Progress("a.gguf", 1, None, "waiting"))
    assert capsys.readouterr().err.splitlines() == [
        "tiny: downloading a.gguf, 0.0 MB of 1.0 MB",
        "tiny: downloading a.gguf, 1.0 MB of 1.0 MB",
        "tiny: waiting for another pull of a.gguf, 0.0 MB",
    ]


def test_megabytes() -> None:
    assert [megabytes(size) for size in (None, 0, 98_362_432, 4_700_000_000)] == ["?", "0.0 MB", "98.4 MB", "4.70 GB"]
