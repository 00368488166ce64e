"""Foundry Local's SDK with Cupola as its service, for Python in the two versions of courses, and for JavaScript."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from filelock import FileLock

from ..foundry import foundry_on_path, python
from ..serving import add_fake_model
from .node import NODE, Program

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PROGRAM = Path(__file__).parent / "foundry_sdk" / "program.py"
ID = "smollm2-135m-instruct-generic-cpu:1"
BASIC = {"fake-generic-cpu:1"}  # needs no files


def installed(version: str) -> Path:
    """The SDK in a folder of its own, once in the user's cache; what it needs is here already."""
    cache = platformdirs.user_cache_path("cupola-tests-foundry", ensure_exists=True)
    folder = cache / version
    with FileLock(cache / "install.lock"):
        if not (folder / "foundry_local").exists():
            wanted = f"foundry-local-sdk=={version}"
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), wanted]
            subprocess.run(command, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("version", ["0.5.1", "0.3.1"])
def test_every_method_works(version: str, tmp_path: Path) -> None:
    modules = installed(version)
    home = tmp_path / "home"
    home.mkdir()
    lost = {"type": "file", "path": str(tmp_path / "nowhere.gguf")}
    entry = {"name": "lost", "licence": "MIT", "context_length": 64}
    variants = [{"name": "gguf", "format": "gguf", "source": lost}]
    (home / "models.yaml").write_text(json.dumps({"models": [{**entry, "variants": variants}]}))
    with foundry_on_path(home, tmp_path / "programs") as foundry:
        printed = python(foundry, str(PROGRAM), "smollm2", "lost", modules=modules)
    check(json.loads(printed.splitlines()[-1]), version, home)


def test_every_step_works_in_javascript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client takes what it reads at once for one line, which depends on the moment."""
    home = tmp_path / "home"
    add_fake_model(home, "tiny")
    add_fake_model(home, "lost")
    (home / "lost.json").unlink()
    place = tmp_path / "program"
    place.mkdir()
    program = Program(Path(__file__).parent / "foundry_js", place)
    with foundry_on_path(home, tmp_path / "programs") as foundry:
        for name in ("PYTHONPATH", "CUPOLA_HOME", "CUPOLA_PORT"):
            monkeypatch.setenv(name, foundry.environment[name])
        monkeypatch.setenv("PATH", f"{NODE.parent}:{foundry.environment['PATH']}")
        said = program.run("all", alias="tiny", other="lost")
    tiny = "tiny-generic-cpu:1"
    assert said["running"] is True
    assert said["endpoint"].startswith("http://127.0.0.1:")
    assert said["cache"] == str(home)
    assert "has not been downloaded yet" in said["early"]
    assert [said[name] for name in ("found", "downloaded", "again", "loaded")] == [tiny] * 4
    assert said["percents"] == sorted(said["percents"])
    assert "lost.json" in said["lost"]
    assert set(said["cached"]) == {tiny, *BASIC}
    assert [said["running_models"], said["after"]] == [[tiny], []]


def check(said: dict[str, Any], version: str, home: Path) -> None:
    assert said["running at first"] is False
    assert "start the service first" in said["without a service"]
    assert said["running"] is True
    assert said["uri"].startswith("http://127.0.0.1:")
    assert said["endpoint"] == said["uri"] + "/v1"
    assert said["key"] == "OPENAI_API_KEY"
    assert said["cache"] == str(home)
    assert [said["same again"], said["same by id"]] == [True, True]
    assert ["smollm2", ID] in said["listed"]
    assert {"phi-4-mini", "qwen2.5-0.5b", "deepseek-r1-7b"} <= {alias for alias, _ in said["listed"]}
    assert said["unknown"][0] is None
    assert "not found in the catalog" in said["unknown"][1]
    found = said["found"]
    assert (found["id"], found["version"], found["license"], found["task"]) == (
        ID,
        "1",
        "Apache-2.0",
        "chat-completion",
    )
    assert found["file_size_mb"] == 98
    check_models(said)
    if version != "0.3.1":
        assert [said["same by name"], said["same on the processor"]] == [True, True]
        assert [said["upgradeable at first"], said["upgradeable"]] == [True, False]


def check_models(said: dict[str, Any]) -> None:
    assert set(said["cached at first"]) == BASIC
    assert (
        said["loaded too early"] == "ValueError: Model smollm2 has not been downloaded yet. Please download it first."
    )
    assert said["downloaded"] == ID
    assert said["downloaded again"] == [ID, ID]
    assert set(said["cached"]) == {ID, *BASIC}
    assert said["cannot be downloaded"].startswith("RuntimeError: Failed to download model with error: ")
    assert "nowhere.gguf" in said["cannot be downloaded"]
    assert said["loaded"] == ID
    assert said["loaded models"] == [ID]
    assert all("Paris" in answer for answer in said["answers"])
    assert said["loaded after that"] == []
    assert "Paris" in said["answer of a model that is not loaded"]
    assert said["bootstrap"] == [ID]
