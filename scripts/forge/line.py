"""A line of stages: each runs in a process of its own, once, and is found done when the line runs again."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
from filelock import FileLock, Timeout

from server.environment import child_environment
from server.errors import CupolaError, InvalidValue
from server.models.files import storage_errors, write_atomically
from server.settings import Settings

from ..reporting import Line, Reporter
from .outside import digests
from .plan import BASE, Stage, keys, plan
from .recipe import ForgeRecipe
from .stages import Job, base_of, result

DONE = "done.json"
JOB = "job.json"


@dataclass(slots=True)
class Finished:
    """A stage that is done: what came of it, where it is, and whether it was done before."""

    stage: Stage
    outcome: dict[str, Any]
    place: Path
    seconds: float
    cached: bool


@dataclass(slots=True)
class Forging:
    """The stages of a recipe in a folder of work."""

    recipe: ForgeRecipe
    origin: Path
    work: Path
    settings: Settings
    reporter: Reporter
    finished: dict[str, Finished] = field(default_factory=dict)

    def run(self) -> dict[str, Finished]:
        """Every stage, in order. Raises CupolaError with the words of one that failed; those before stay done."""
        with storage_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.work / "lock", timeout=0):
                return self._run()
        except Timeout:
            raise InvalidValue(f"Another process forges in {self.work}.") from None

    def _run(self) -> dict[str, Finished]:
        base = base_of(self.recipe.base, self.settings)
        stages = plan(self.recipe)
        named = keys(stages, digests(self.recipe, self.origin, base, self.settings))
        for number, stage in enumerate(stages):
            share = (number / len(stages), 1 / len(stages))
            self.finished[stage.name] = self._stage(stage, named[stage.name], base, share)
        self._sweep({self._folder(stage, named[stage.name]) for stage in stages})
        return self.finished

    def _folder(self, stage: Stage, key: str) -> Path:
        return self.work / (stage.name if stage.lasting else f"{stage.name}-{key}")

    def _stage(self, stage: Stage, key: str, base: Path, share: tuple[float, float]) -> Finished:
        folder, places = self._folder(stage, key), self._places(stage, base)
        job = Job(kind=stage.kind, order=stage.order, places=places)
        done = folder / DONE
        if done.is_file():
            told = json.loads(done.read_text("utf-8"))
            if told["key"] == key and (place := result(job, folder, told["outcome"])).exists():
                return Finished(stage, told["outcome"], place, told["seconds"], cached=True)
        started = time.monotonic()
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            done.unlink(missing_ok=True)
            write_atomically(folder / JOB, job.model_dump_json())
        outcome = self._process(stage, folder, share)
        seconds = round(time.monotonic() - started, 1)
        with storage_errors(folder):
            write_atomically(done, json.dumps({"key": key, "outcome": outcome, "seconds": seconds}))
        return Finished(stage, outcome, result(job, folder, outcome), seconds, cached=False)

    def _places(self, stage: Stage, base: Path) -> dict[str, Path]:
        """What a stage finds where: the results of those before it, the checkpoint that it takes, the recipe."""
        found = {name: self.finished[name].place for name in stage.after}
        found |= {BASE: base, "model": base if stage.model == BASE else self.finished[stage.model].place}
        return found | {"here": self.origin.parent.resolve()}

    def _process(self, stage: Stage, folder: Path, share: tuple[float, float]) -> dict[str, Any]:
        with tempfile.TemporaryFile() as errors:  # no pipe: nobody reads it before the stage has ended
            outcome, error, status = self._spoken(stage, folder, share, errors)
            errors.seek(0)
            words = errors.read().decode("utf-8", "replace").strip().splitlines()
        if outcome is None:
            raise CupolaError(f"{stage.name}: {error or (words or [f'its process ended with status {status}'])[-1]}")
        return outcome

    def _spoken(
        self, stage: Stage, folder: Path, share: tuple[float, float], errors: IO[bytes]
    ) -> tuple[dict[str, Any] | None, str, int]:
        """The outcome or the error that a stage's process tells, and its status."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.forge", str(folder)],
            env=child_environment() | {"CUPOLA_HOME": str(self.settings.home)},
            cwd=self.origin.parent,  # paths in a recipe are from the recipe
            stdin=subprocess.PIPE,  # it ends when we do, however we end
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            assert process.stdout is not None
            outcome, error = self._follow(process.stdout, stage, share)
            return outcome, error, process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _follow(self, output: IO[str], stage: Stage, share: tuple[float, float]) -> tuple[dict[str, Any] | None, str]:
        """Report every line; the last one of ours has the outcome, or the error."""
        outcome, error = None, ""
        for text in output:
            try:
                line = msgspec.json.decode(text, type=dict[str, Any])
            except msgspec.DecodeError:
                continue  # a library's own words
            if "outcome" in line:
                outcome = line["outcome"]
                continue
            told = msgspec.convert(line, Line)
            error = told.error or error
            if told.doing and not told.fraction and not told.figures:
                self.reporter.say(f"{stage.name}: {told.doing}")
            elif told.doing:
                start, width = share
                self.reporter.step(start + told.fraction * width, f"{stage.name}: {told.doing}", **told.figures)
        return outcome, error

    def _sweep(self, kept: set[Path]) -> None:
        """What earlier recipes left is removed when all of a line is done."""
        for folder in self.work.iterdir():
            if folder not in kept and (folder / JOB).is_file():
                shutil.rmtree(folder, ignore_errors=True)
