"""Our own server as the teacher, for as long as a block lasts."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import CupolaError
from server.settings import child_environment

GRACE = 20.0  # seconds to end in


@contextmanager
def own_server(model: str, home: Path) -> Iterator[str]:
    """The address of a server on a free port. Raises CupolaError when it does not start; stderr says why."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scripts.teaching.serving_child", "serve", model, "--port", "0"],
        env=child_environment() | {"CUPOLA_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        url = next((word for word in process.stdout.readline().split() if word.startswith("http://")), "")
        if not url:
            raise CupolaError(f"The teacher {model} did not start. Is it pulled? Try: cupola pull {model}")
        yield f"{url}/v1"
    finally:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()
