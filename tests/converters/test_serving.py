"""Servers that are started for a block: what they say when they do not start, and that they end."""

import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from converters.serving import last_words, serving, serving_artifact
from server.environment import child_environment
from server.errors import CupolaError
from tests.serving import add_fake_model, pull

from .small import Small, write

STARTED = """
import sys, time
from pathlib import Path
from converters.serving import serving
with serving("The server", Path(sys.argv[1])) as server:
    print(server.pid, server.url, flush=True)
    time.sleep(600)
"""


def test_a_server_of_a_home_is_on_loopback_and_ends_with_the_block(tmp_path: Path) -> None:
    add_fake_model(tmp_path, "tutor", answer_tokens=3)
    pull(tmp_path, "tutor")
    with serving("The server", tmp_path, "tutor", max_models="1") as server:
        assert server.url.startswith("http://127.0.0.1:")
        models = httpx.get(f"{server.api}/models", trust_env=False).json()["data"]
        assert "tutor" in {model["id"] for model in models}
        everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert not any(process.is_running() for process in everything)


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    complaint = r"^The teacher did not start: Model 'nobody' does not exist"
    with pytest.raises(CupolaError, match=complaint), serving("The teacher", tmp_path, "nobody"):
        pass
    complaint = r"^The server did not start: .*CUPOLA_LOG_LEVEL"
    with pytest.raises(CupolaError, match=complaint), serving("The server", tmp_path, log_level="loud"):
        pass


def test_a_server_that_is_late_is_ended(tmp_path: Path) -> None:
    before = psutil.Process().children()
    complaint = r"^The server did not start in 0 s: it said nothing$"
    with pytest.raises(CupolaError, match=complaint), serving("The server", tmp_path, startup=0.01):
        pass
    assert psutil.Process().children() == before


def test_an_artifact_is_served_as_itself(tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", Small("llama", tied=False, feed_forward=128))
    with serving_artifact("small", str(model), "llama") as (server, name):
        assert name == "measured@llama"
        body = {"model": name, "prompt": "a", "max_tokens": 2}
        answer = httpx.post(f"{server.api}/completions", json=body, timeout=60, trust_env=False)
        assert answer.json()["usage"]["completion_tokens"] in {1, 2}, answer.text
    missing = tmp_path / "missing.gguf"
    complaint = r"^small cannot be served: .*missing\.gguf"
    with pytest.raises(CupolaError, match=complaint), serving_artifact("small", str(missing)):
        pass


def test_a_server_ends_with_who_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", STARTED, str(tmp_path)]
    with subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said, "it did not start"
        server = psutil.Process(int(said[0]))
        children = [server, *server.children(recursive=True)]
        process.kill()
    assert not psutil.wait_procs(children, 20)[1]


def test_the_last_words_are_one_line() -> None:
    assert last_words("Traceback\n\nError: No such file.\n") == "No such file."
    assert last_words(" \n") == "it said nothing"
    assert len(last_words("x" * 5000)) == 500
