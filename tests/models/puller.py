"""A process that pulls, to be killed: `python -m tests.models.puller HOME HUB_URL REPO PATTERN KILL_AT [LIMIT]`.

It counts what happens to it (progress, and every file operation of Python that concerns HOME) and kills itself with
SIGKILL at event KILL_AT; 0 lets it live and prints the number of events. Each phase it enters is a line on stdout.
"""

import os
import signal
import sys
from pathlib import Path

from server.errors import CupolaError
from server.models.progress import Progress
from server.models.spec import HuggingFaceSource, ModelSpec, Variant
from server.models.store import Store
from server.settings import Settings

assert sys.platform != "win32", "killed by a signal that Windows does not have"

import resource  # noqa: E402 (does not exist on Windows)

FILE_EVENTS = {"open", "os.rename", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


class Fate:
    """Counts events and strikes at one of them."""

    def __init__(self, home: str, kill_at: int) -> None:
        self.home, self.kill_at, self.events, self.phase = home, kill_at, 0, ""

    def strike(self) -> None:
        self.events += 1
        if self.events == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in FILE_EVENTS and any(str(argument).startswith(self.home) for argument in arguments):
            self.strike()

    def report(self, progress: Progress) -> None:
        self.strike()
        if progress.phase != self.phase:
            self.phase = progress.phase
            print(progress.phase, flush=True)  # noqa: T201 (the test reads it)


def main() -> int:
    """Pull; the exit status is that of the command line."""
    home, endpoint, repo, pattern, kill_at, *limit = sys.argv[1:]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    variant = Variant(name="gguf-q4", format="gguf", source=HuggingFaceSource(repo=repo, files=(pattern,)))
    model = ModelSpec(name="tiny", licence="MIT", context_length=128, variants=(variant,))
    fate = Fate(home, int(kill_at))
    sys.addaudithook(fate.audit)
    settings = Settings(home=Path(home), hf_endpoint=endpoint, offline=False, hf_token=None)
    try:
        Store(Path(home)).pull(model, variant, settings, fate.report)
    except CupolaError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 (the test reads it)
        return error.exit_code
    print(fate.events)  # noqa: T201 (the test reads it)
    return 0


if __name__ == "__main__":
    sys.exit(main())
