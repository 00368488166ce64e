"""`cupola quality`, as a user runs it, on a small model."""

import json
from pathlib import Path

from ..converters.small import Small, write
from .test_run import cupola


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
