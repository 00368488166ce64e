"""Tasks of lm-evaluation-harness over any OpenAI-compatible server. A task is a YAML file beside its data."""

import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import msgspec

from server.child.platform import describe_exit
from server.environment import child_environment
from server.errors import CupolaError, InvalidValue

from ..serving import serving_artifact
from .figures import Failed, Report, TaskScore
from .orders import Refused, Subject

EXTRA = "Tasks need lm-evaluation-harness. Install it with: pip install 'cupola[eval]'"
CONTEXT = 4096  # tokens; what a server of ours gives a sequence by default
TIMEOUT = 3600.0  # seconds of all tasks of one model


class TaskOrder(msgspec.Struct, frozen=True):
    """Which tasks of a folder are asked of which model. `url` ends with /v1; `tokenizer` None: the server's own."""

    url: str
    model: str
    tasks: list[str]
    folder: str
    limit: int | None = None
    tokenizer: str | None = None
    context: int = CONTEXT


class Score(msgspec.Struct, frozen=True):
    """A metric of a task over `count` items; `stderr` None where the harness estimates none."""

    task: str
    metric: str
    value: float
    stderr: float | None
    count: int


class Scored(msgspec.Struct, frozen=True, tag="scored"):
    scores: list[Score]


def scores(order: TaskOrder) -> list[Score]:
    """Every metric of every task. Raises InvalidValue for a folder that is not there, else CupolaError with why.

    The harness runs in a process of its own, whose caches are in a folder that is gone afterwards: it neither
    reaches a hub nor writes into the user's home, and what it says stays off the terminal.
    """
    if not Path(order.folder).is_dir():
        raise InvalidValue(f"There is no folder {order.folder}; --tasks-dir names the one with the tasks' YAML files.")
    with tempfile.TemporaryDirectory(prefix="cupola-tasks-") as home, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "converters.report.harness"],
            env=child_environment() | _private(home),
            cwd=order.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
            with process.stdin:  # its end ends the harness, so it stays open until the answer is here
                said = _read(process)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        return _answer(said, errors.read().decode("utf-8", "replace"), process.returncode)


def _private(home: str) -> dict[str, str]:
    """Variables that keep caches in `home` and every library off the network."""
    folders = dict.fromkeys(("HF_HOME", "XDG_CACHE_HOME", "LM_HARNESS_CACHE_PATH"), home)
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"), "1")
    return folders | offline | {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


def _read(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    try:
        with process.stdout:
            said = process.stdout.read()
        process.wait()
        return said
    finally:
        timer.cancel()


def _answer(said: bytes, errors: str, status: int) -> list[Score]:
    for line in reversed(said.splitlines()):
        try:
            answer = msgspec.json.decode(line, type=Scored | Refused)
        except msgspec.DecodeError:
            continue  # a library's own words
        if isinstance(answer, Refused):
            raise CupolaError(answer.message)
        return answer.scores
    words = errors.strip().splitlines()
    raise CupolaError(f"The tasks failed ({describe_exit(status)}){f': {words[-1][:300]}' if words else ''}")


def checked_folder(folder: Path | None) -> Path:
    """Where the tasks are, before anything is measured. Raises InvalidValue, and CupolaError without the harness."""
    if folder is None:
        raise InvalidValue("--tasks needs --tasks-dir, the folder with the tasks' YAML files.")
    if not folder.is_dir():
        raise InvalidValue(f"There is no folder {folder}; --tasks-dir names the one with the tasks' YAML files.")
    if find_spec("lm_eval") is None:
        raise CupolaError(EXTRA)
    return folder.resolve()


def with_tasks(report: Report, subjects: list[Subject], names: str, folder: Path, limit: int | None) -> Report:
    """The report with the scores of `names`, separated by commas, of all that could be measured.

    Where tasks fail, what was measured stays, and the reason is among what failed.
    """
    rows, failed = [], list(report.failed)
    for row in report.rows:
        subject = next(each for each in subjects if each.label == row.artifact)
        found: list[Score] = []
        try:
            with serving_artifact(subject.label, subject.path, row.engine) as (server, model):
                found = scores(TaskOrder(server.api, model, names.split(","), str(folder), limit))
        except CupolaError as error:
            failed.append(Failed(artifact=row.artifact, reason=f"its tasks: {error.message}"))
        told = tuple(TaskScore(**msgspec.structs.asdict(each)) for each in found)
        rows.append(row.model_copy(update={"tasks": told}))
    return report.model_copy(update={"rows": tuple(rows), "failed": tuple(failed)})
