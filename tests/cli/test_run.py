"""`cupola` as a user runs it."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from server.environment import child_environment

PROMPT = "\x1b[0m>"  # as prompt_toolkit draws "> "
TIMEOUT = 300  # seconds; what runs longer than the test may, pytest ends
CUPOLA = [sys.executable, "-P", "-m", "server"]


def cupola(home: Path, *arguments: str, text: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    environment = child_environment() | {"CUPOLA_HOME": str(home)} | settings
    return subprocess.run(
        [*CUPOLA, *arguments], check=False, input=text, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )


@pytest.mark.real
@pytest.mark.parametrize("engine", ["llama", "onnx"])
def test_run_answers_paris(request: pytest.FixtureRequest, engine: str) -> None:
    home = request.getfixturevalue({"llama": "real_home", "onnx": "onnx_home"}[engine])
    done = cupola(home, "run", "smollm2", "What is the capital of France?")
    assert done.returncode == 0
    assert "Paris" in done.stdout
    assert done.stderr == ""


@pytest.mark.real
def test_pull_brings_the_variant_that_serves_best_here(onnx_home: Path) -> None:
    done = cupola(onnx_home, "pull", "smollm2")
    assert done.returncode == 0
    assert "smollm2-135m-instruct@onnx-exact is ready" in done.stdout
    assert "divergence from its source 0.00" in done.stdout


def test_piped_text_is_the_prompt(tmp_path: Path) -> None:
    assert cupola(tmp_path, "run", "fake", text="Hello").stdout.strip()
    nothing = cupola(tmp_path, "run", "fake")
    assert nothing.returncode == 1
    assert "No prompt was given" in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "message"),
    [
        (("run", "nobody", "Hi"), {}, 1, "Model 'nobody' does not exist"),
        (("serve", "--host", "0.0.0.0"), {}, 78, "Refusing to listen"),
        (("serve", "nobody"), {}, 1, "does not exist"),
        (("serve", "phi-4-mini"), {}, 1, "cupola pull phi-4-mini"),
        (("list",), {"CUPOLA_PRT": "1"}, 78, "CUPOLA_PRT"),
        (("list",), {"CUPOLA_PORT": "high"}, 78, "CUPOLA_PORT"),
        (("ps",), {"CUPOLA_PORT": "1"}, 1, "cupola serve"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str], status: int, message: str
) -> None:
    done = cupola(tmp_path, *arguments, **settings)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_listings_are_json(tmp_path: Path) -> None:
    listed = json.loads(cupola(tmp_path, "list", "--json").stdout)["models"]
    assert {"smollm2-135m-instruct", "fake"} <= {row["name"] for row in listed}
    assert json.loads(cupola(tmp_path, "show", "smollm2", "--json").stdout)["licence"] == "Apache-2.0"


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.descriptor, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = child_environment() | {"CUPOLA_HOME": str(home), "TERM": "xterm"}
        self.process = subprocess.Popen(
            [*CUPOLA, *arguments], stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # so that Ctrl-C becomes a signal
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def expect(self, text: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.descriptor], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{text!r} did not come; last: {self.seen[-300:]!r}"
            self.seen += os.read(self.descriptor, 4096).decode(errors="replace")
            if "\x1b[6n" in self.seen:  # it asks where the cursor is
                self.seen = self.seen.replace("\x1b[6n", "")
                self.type("\x1b[1;1R")
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.descriptor)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_conversation_in_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "run", "fake", "--max-tokens", "200")
    try:
        terminal.expect("ends the conversation")
        terminal.expect(PROMPT)
        terminal.type("Hello\r")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.process.wait(20) == 0
        assert "Hello" in (tmp_path / "history").read_text()
    finally:
        terminal.close()


@pytest.mark.real
def test_ctrl_c_stops_the_answer_and_not_the_program(real_home: Path) -> None:
    terminal = Terminal(real_home, "run", "smollm2")
    try:
        terminal.expect(PROMPT)
        terminal.type("Tell me a very long story about a lighthouse and its keeper.\r")
        terminal.expect("lighthouse")
        terminal.expect("the")
        terminal.type("\x03")
        terminal.expect("(stopped)")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close()
