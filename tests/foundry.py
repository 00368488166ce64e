"""The command `foundry` as its users have it: a program on PATH, and a home of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.shim import launcher

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Foundry:
    """The command, and the environment of whoever calls it."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, typed: str = "", status: int = 0) -> str:
        """What it prints. Both streams are read to their end, which a service that held them would never let come."""
        ran = self.program("foundry", *arguments, typed=typed)
        assert ran.returncode == status, f"{arguments}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout if status == 0 else ran.stderr

    def program(self, *command: str, typed: str = "", timeout: float = 100) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@contextmanager
def foundry_on_path(home: Path, programs: Path, **settings: str) -> Iterator[Foundry]:
    """The command, installed; the service it may have started has ended when the block is left."""
    launcher.install(programs)
    # What an installer needs to find its index is in the environment, too.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CUPOLA_", "HF_"))}  # noqa: TID251
    environment |= {"PATH": f"{programs}{os.pathsep}{environment['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"CUPOLA_HOME": str(home), "CUPOLA_PORT": "0"}
    foundry = Foundry(environment | {f"CUPOLA_{name.upper()}": value for name, value in settings.items()})
    try:
        yield foundry
    finally:
        foundry("service", "stop")


def python(foundry: Foundry, *arguments: str, modules: Path) -> str:
    """What a Python program prints that has further modules, and `foundry` on its PATH."""
    environment = foundry.environment | {"PYTHONPATH": f"{modules}{os.pathsep}{ROOT}"}
    ran = Foundry(environment).program(sys.executable, "-P", *arguments, timeout=500)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
