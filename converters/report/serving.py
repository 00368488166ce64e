"""A server of our own for one artifact, on a free port, in a home that is gone afterwards."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import CupolaError
from server.settings import child_environment

from .orders import Subject

NAME = "measured"
GRACE = 20.0  # seconds to end in
CUPOLA = (sys.executable, "-P", "-m", "server")


@contextmanager
def serving(subject: Subject) -> Iterator[tuple[str, str]]:
    """The URL, which ends with /v1, and the model. Raises CupolaError where it cannot be served.

    The engine is part of the name: without it the server would serve the best that it can make of the artifact.
    """
    model = f"{NAME}@{subject.engines[0]}"
    with tempfile.TemporaryDirectory(prefix="cupola-served-") as home:
        environment = child_environment() | {"CUPOLA_HOME": home}
        for command in (["add", subject.path, "--name", NAME], ["pull", model]):
            done = subprocess.run([*CUPOLA, *command], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CupolaError(f"{subject.label} cannot be served: {done.stderr.strip()[-300:]}")
        process = subprocess.Popen(
            [*CUPOLA, "serve", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            url = next((word for word in process.stdout.readline().split() if word.startswith("http://")), "")
            if not url:
                raise CupolaError(f"The server for {subject.label} did not start.")
            yield f"{url}/v1", model
        finally:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
