"""Other programs that are asked about the device: with an argument list, a deadline, and nothing of our environment."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from ..child.platform import spawn_options
from ..environment import child_environment

SECONDS = 1.5  # a reading of the whole device is to end within 2


class Answer(msgspec.Struct, frozen=True):
    """What a program printed. `status` is None when it did not end in time, and not 0 when it failed."""

    status: int | None
    text: str = ""
    errors: str = ""

    @property
    def late(self) -> bool:
        return self.status is None


def find(name: str) -> str | None:
    """The path of an installed program. Never one in the folder where the user stands, which Windows searches first."""
    found = shutil.which(name)
    return found if found and Path(found).is_absolute() else None


def ask(command: list[str], seconds: float = SECONDS) -> Answer:
    """Run a program to its end, or kill it. Never raises."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            env=child_environment(),
            **spawn_options(),
        )
    except subprocess.TimeoutExpired:
        return Answer(None)
    except OSError as error:
        return Answer(error.errno or 1, errors=str(error))
    return Answer(done.returncode, done.stdout, done.stderr)


def ask_python(*arguments: str, seconds: float = SECONDS) -> Answer:
    """Run our own interpreter: what may hang or abort in a native library does so in a process of its own."""
    return ask([sys.executable, "-P", *arguments], seconds)
