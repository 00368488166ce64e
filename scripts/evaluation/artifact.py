"""A server of our own for one artifact, on a free port, in a home that is gone afterwards."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converters.report.artifacts import Finder
from converters.report.orders import Subject
from server.errors import CupolaError
from server.models.registry import Registry
from server.models.store import Store
from server.settings import child_environment, load_settings

NAME = "measured"
CUPOLA = (sys.executable, "-P", "-m", "server")
GRACE = 20.0  # seconds to end in


def find(target: str) -> Subject:
    """Raises what Finder does."""
    return Finder(load_settings()).subject(target)


@contextmanager
def serving(subject: Subject, startup: float) -> Iterator[tuple[str, int]]:
    """URL#MODEL and the server's process. It has no system message and no sampling of its own. Raises CupolaError."""
    with tempfile.TemporaryDirectory(prefix="cupola-evaluate-") as folder:
        environment = child_environment() | {"CUPOLA_HOME": folder}
        _run(["add", subject.path, "--name", NAME], environment, subject.label)
        settings = load_settings(home=Path(folder))
        spec, variants = Registry.load(settings.overlay).resolve(NAME)
        name = f"{NAME}@{variants[0].name}"  # the file itself: of a bare name an ONNX conversion may be served
        Store(settings.home).pull(spec, variants[0], settings)
        log = Path(folder) / "server.log"
        with log.open("wb") as written:
            process = subprocess.Popen(
                [*CUPOLA, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=written, text=True
            )
        try:
            url = _address(process, startup)
            if not url:
                said = _last(log.read_text("utf-8", "replace"))
                raise CupolaError(f"The server for {subject.label} did not start in {startup:.0f} s: {said}")
            yield f"{url}/v1#{name}", process.pid
        finally:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _run(command: list[str], environment: dict[str, str], label: str) -> None:
    done = subprocess.run([*CUPOLA, *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CupolaError(f"{label} cannot be served: {_last(done.stderr)}")


def _address(process: subprocess.Popen[str], patience: float) -> str:
    """What the server's first line names; nothing where it does not come in time."""
    lines: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=lambda out: lines.append(out.readline()), args=(process.stdout,), daemon=True)
    reading.start()
    reading.join(patience)
    if reading.is_alive():
        process.kill()  # which ends the line that is waited for
        reading.join()
        return ""
    return next((word for word in "".join(lines).split() if word.startswith("http://")), "")


def _last(log: str) -> str:
    lines = log.strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else "it said nothing"
