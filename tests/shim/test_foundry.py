"""The command `foundry`: what it prints is what SDKs and courses look for in it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import InvalidValue, ModelNotFound, Unavailable
from server.settings import Settings
from server.shim import launcher
from server.shim.catalogue import Row, chosen, kept, table
from server.shim.remote import Remote

from ..foundry import Foundry, foundry_on_path
from ..serving import add_fake_model, running_server

# The SDK for Python looks for the address of the service by this.
ADDRESS = re.compile(r"http://(?:[a-zA-Z0-9.-]+|\d{1,3}(\.\d{1,3}){3}):\d+")


@pytest.fixture(scope="module")
def foundry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foundry]:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "tiny", answer_tokens=4)
    with foundry_on_path(home, tmp_path_factory.mktemp("programs")) as command:
        yield command


def address(text: str) -> str:
    found = ADDRESS.search(text)
    return found[0] if found else ""


def test_the_service_starts_stops_and_says_where_it_is(foundry: Foundry) -> None:
    foundry("service", "stop")
    off = foundry("service", "status")
    assert off.startswith("🔴 Model management service is not running!\n")
    assert not address(off)
    assert re.fullmatch(r"🟢 Service is Started on http://127\.0\.0\.1:\d+/, PID \d+!\n", foundry("service", "start"))
    status = foundry("service", "status")
    assert status == f"🟢 Model management service is running on {address(status)}/openai/status\n"
    assert foundry("service", "start") == f"🟢 Service is already running on {address(status)}/.\n"
    assert "Started on" in foundry("service", "restart")
    told = foundry("service", "diag", "--logs")
    assert "Valid EPs: CPUExecutionProvider" in told
    assert "Application startup complete" in told
    assert foundry("service", "stop") == "🔴 Service is stopped.\n"
    assert not address(foundry("service", "status"))


def test_a_look_at_the_status_waits_for_a_service_that_is_starting(foundry: Foundry) -> None:
    """SDKs start it without waiting, and look ten times within little more than a second."""
    foundry("service", "stop")
    with subprocess.Popen(["foundry", "service", "start"], env=foundry.environment, stdout=subprocess.PIPE) as starting:
        looks = [address(foundry("service", "status")) for _ in range(10)]
        assert starting.stdout is not None
        printed = starting.stdout.read().decode()
    assert address(printed) in looks
    assert looks[-1] == address(printed)


def test_from_the_catalogue_to_an_answer_and_away_again(foundry: Foundry) -> None:
    listed = foundry("model", "list").splitlines()
    head = next(line for line in listed if line.startswith("Alias"))
    assert re.split(r"\s{2,}", head) == ["Alias", "Device", "Task", "File Size", "License", "Model ID"]
    row = next(line for line in listed if line.startswith("tiny "))
    assert re.split(r"\s{2,}", row) == ["tiny", "CPU", "chat", "0 MB", "Apache-2.0", "tiny-generic-cpu:1"]
    assert foundry("service", "ps").endswith("No models are currently loaded in the service\n")
    ran = foundry("model", "run", "tiny", "--prompt", "Hello", "--verbose")
    assert "Downloading tiny-generic-cpu:1...\n" in ran
    assert "🕓 Loading model...\n🟢 Model tiny-generic-cpu:1 loaded successfully\n🤖 " in ran
    assert re.search(r"Total Tokens: \d+\n", ran)
    assert "🟢  tiny" in foundry("service", "ps")
    assert re.search(r"💾 tiny +tiny-generic-cpu:1\n", foundry("cache", "list"))
    assert foundry("cache", "ls") == foundry("cache", "list")
    assert "tiny-generic-cpu:1" in foundry("model", "ls", "--running")
    assert foundry("model", "unload", "tiny") == "🔴 Model tiny-generic-cpu:1 unloaded successfully\n"
    assert foundry("model", "load", "tiny-generic-cpu", "--ttl", "5").endswith("loaded successfully\n")
    assert foundry("model", "unload", "--all") == "🔴 All models are unloaded.\n"
    assert "tiny" not in foundry("model", "list", "--running")
    assert "freed" in foundry("cache", "remove", "tiny", "--yes")
    assert "tiny" not in foundry("cache", "list")


def test_a_conversation(foundry: Foundry) -> None:
    told = foundry("model", "run", "fake", typed="Hello\n/help\n/clear\nAnd you?\n/exit\nNever asked\n")
    assert "Interactive mode, please enter your prompt\n" in told
    assert told.count("🤖 ") == 2
    assert "/exit ends the chat" in told


def test_where_the_models_are(foundry: Foundry) -> None:
    home = foundry.environment["CUPOLA_HOME"]
    assert foundry("cache", "location") == f"💾 Cache directory path: {home}\n"
    assert "CUPOLA_HOME=/elsewhere" in foundry("cache", "cd", "/elsewhere", status=1)
    assert "CUPOLA_PORT=5273" in foundry("service", "set", "--port", "5273", status=1)
    shown = foundry("service", "set", "--show").splitlines()
    assert shown[0] == "No settings changed"
    assert json.loads(shown[1])["serviceSettings"]["cacheDirectoryPath"] == home


def test_what_is_wrong_is_said_in_a_line(foundry: Foundry) -> None:
    assert foundry("model", "info", "no-such", status=1) == (
        "Error: Model 'no-such' was not found in the catalogue. See: foundry model list\n"
    )
    assert "--filter colour=red" in foundry("model", "list", "--filter", "colour=red", status=1)
    assert "No OpenAIService provider found" in foundry("model", "load", "phi-4-mini", status=1)
    assert "CUPOLA_HF_TOKEN" in foundry("model", "download", "tiny", "--token", "secret", status=1)
    assert "Usage:" in foundry("model", "jump", status=2)


def test_a_server_that_wants_a_key_says_where_it_belongs(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, api_key="a-key-of-many-letters") as server,
        pytest.raises(Unavailable, match="put one of its keys into CUPOLA_API_KEY"),
    ):
        Remote(server.url, Settings(home=tmp_path)).get("/foundry/list")


def test_a_server_that_was_started_by_hand_is_found_and_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_server(home) as server:
        port = server.url.rpartition(":")[2]
        with foundry_on_path(home, tmp_path / "programs", port=port) as foundry:
            try:
                assert address(foundry("service", "status")) == server.url
                assert "already running" in foundry("service", "start")
                assert f"process {server.process.pid}" in foundry("service", "stop", status=1)
            finally:
                server.process.terminate()
                server.process.wait(20)
            assert not address(foundry("service", "status"))


# --------------------------------------------------------------------------------------------------------- launcher


def cupola(*arguments: str, path: str, status: int = 0) -> str:
    environment = os.environ | {"PATH": path}  # noqa: TID251
    command = [sys.executable, "-P", "-m", "server", "foundry-shim", *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_it_is_installed_found_and_taken_away(tmp_path: Path) -> None:
    place = str(tmp_path / "bin")
    assert json.loads(cupola("status", "--dir", place, "--json", path=place))["state"] == "absent"
    assert "is installed" in cupola("install", "--dir", place, path=place)
    assert "is installed" in cupola("install", "--dir", place, path=place), "again"
    found = json.loads(cupola("status", "--dir", place, "--json", path=place))
    assert found == {"path": f"{place}/foundry", "state": "ours", "on_path": f"{place}/foundry"}
    assert "first in PATH" in cupola("install", "--dir", place, path="/nowhere")
    assert "is removed" in cupola("uninstall", "--dir", place, path=place)
    assert "There is no" in cupola("uninstall", "--dir", place, path=place)
    assert not list(Path(place).iterdir())


def test_another_program_of_that_name_stays(tmp_path: Path) -> None:
    real = tmp_path / "real" / "foundry"
    real.parent.mkdir()
    real.write_text("#!/bin/sh\necho Foundry Local\n")
    real.chmod(0o755)
    elsewhere = str(tmp_path / "bin")
    for arguments in (("install", "--dir", str(real.parent)), ("install", "--dir", elsewhere)):
        assert "another program" in cupola(*arguments, path=str(real.parent), status=1)
    assert "another program" in cupola("uninstall", "--dir", str(real.parent), path=elsewhere, status=1)
    assert "is another program" in cupola("status", "--dir", str(real.parent), path=elsewhere)
    assert real.read_text() == "#!/bin/sh\necho Foundry Local\n"
    assert not Path(elsewhere).exists()


def test_the_launcher_goes_beside_cupola(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cupola").write_text("")
    (tmp_path / "cupola").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launcher.folder_of(None) == tmp_path
    monkeypatch.setenv("PATH", "/nowhere")
    assert launcher.folder_of(None) == Path.home() / ".local" / "bin"


# --------------------------------------------------------------------------------------------------------- the list


def row(name: str, alias: str, kind: str, provider: str, task: str = "chat-completion", *, tools: bool = False) -> Row:
    return {
        "name": f"{name}:1",
        "displayName": name,
        "alias": alias,
        "task": task,
        "supportsToolCalling": tools,
        "fileSizeMb": 3720,
        "license": "MIT",
        "parentModelUri": f"cupola://{name.rpartition('-')[0].rpartition('-')[0]}",
        "runtime": {"deviceType": kind, "executionProvider": provider},
    }


ROWS = [
    row("phi-4-mini-instruct-cuda-gpu", "phi-4-mini", "GPU", "CUDAExecutionProvider", tools=True),
    row("phi-4-mini-instruct-generic-cpu", "phi-4-mini", "CPU", "CPUExecutionProvider", tools=True),
    row("all-minilm-l6-v2-generic-cpu", "minilm", "CPU", "CPUExecutionProvider", "embeddings"),
]


@pytest.mark.parametrize(
    ("name", "device", "found"),
    [
        ("phi-4-mini", None, 0),
        ("Phi-4-mini", "cpu", 1),
        ("phi-4-mini", "Auto", 0),
        ("phi-4-mini-instruct-generic-cpu", None, 1),
        ("phi-4-mini-instruct-generic-cpu:1", "GPU", 1),  # an id is exact
        ("phi-4-mini-instruct", None, 0),
        ("all-minilm", None, 2),  # an alias that the list does not have
    ],
)
def test_a_name_means_a_row(tmp_path: Path, name: str, device: str | None, found: int) -> None:
    assert chosen(ROWS, name, device, Settings(home=tmp_path)) is ROWS[found]


def test_names_that_mean_none(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="does not run on a NPU"):
        chosen(ROWS, "phi-4-mini", "NPU", Settings(home=tmp_path))
    with pytest.raises(InvalidValue, match="choose one of"):
        chosen(ROWS, "phi-4-mini", "abacus", Settings(home=tmp_path))


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        (None, [0, 1, 2]),
        ("device=GPU", [0]),
        ("device=!gpu", [1, 2]),
        ("task=chat", [0, 1]),
        ("task=chat-completion", [0, 1]),
        ("task=tools", [0, 1]),
        ("alias=phi*", [0, 1]),
        ("alias=!phi*", [2]),
        ("alias=phi", []),
        ("provider=CUDAExecutionProvider", [0]),
    ],
)
def test_filters(condition: str | None, places: list[int]) -> None:
    assert kept(ROWS, condition) == [ROWS[place] for place in places]


def test_the_alias_stands_on_its_first_row_only() -> None:
    lines = list(table(ROWS))[2:]
    assert [line[:12].strip() for line in lines] == ["phi-4-mini", "", "minilm"]
    assert "3.72 GB" in lines[0]
