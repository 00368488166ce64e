"""`cupola tune`: measure every variant that can run here, and keep what was found for the choice to come."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ..errors import ConversionFailed, CupolaError, LoadFailed
from ..hardware.cpu import usable_cores
from ..models.choice import Chooser
from ..models.conversion import measure_quality
from ..models.manifest import Manifest
from ..models.progress import Report
from ..models.select import Choice
from ..models.spec import DerivedSource, ModelSpec
from ..models.store import Store
from ..models.tuning import Measurement, Tuning, write_tuning
from ..runners.base import Placement
from ..settings import Settings, child_environment
from .measure import PROMPT, SEQUENCES, Order, Refused, Speed
from .plan import Setting, contenders, first_setting, further_settings, runnable

CONTEXT = 2 * PROMPT
TIMEOUT = 600.0  # seconds for one measurement

Tell = Callable[[float, str], None]  # fraction done, what is being done


@dataclass(frozen=True, slots=True)
class Subject:
    """A choice whose artifact is here."""

    choice: Choice
    manifest: Manifest
    path: Path

    @property
    def name(self) -> str:
        return f"{self.choice.variant.name} on {self.choice.variant.backend}"


class Tuner:
    """One tuning of one model. `tell` hears how far it is, `warn` what could not be measured."""

    def __init__(self, settings: Settings, chooser: Chooser, tell: Tell, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._store = Store(settings.home)
        self._chooser = chooser
        self._tell = tell
        self._warn = warn

    def tune(self, name: str, *, max_kl: float, create: bool, report: Report) -> Tuning:
        """Make candidates, measure them, and keep the result. Raises LoadFailed where nothing could be measured."""
        spec, choices = self._chooser.ranking_with_sizes(name, CONTEXT, max(SEQUENCES))
        subjects = list(self._subjects(spec, runnable(choices, create=create), report))
        cores = self._settings.threads or usable_cores()
        reference = _reference(subjects)
        found: list[Measurement] = []
        for number, subject in enumerate(subjects):
            self._tell(0.5 * number / len(subjects), f"{subject.name}: quality and speed")
            if measurement := self._first(subject, reference, first_setting(cores)):
                found.append(measurement)
        if not found:
            raise LoadFailed(f"No variant of {spec.name} could be measured. See: cupola show {spec.name}")
        found = self._refined(found, subjects, max_kl, cores)
        tuning = Tuning(
            model=spec.name,
            device=self._chooser.facts.fingerprint,
            created=datetime.now(UTC),
            max_kl=max_kl,
            measurements=tuple(sorted(found, key=lambda one: one.seconds)),
        )
        write_tuning(self._settings.home, tuning)
        return tuning

    def _subjects(self, spec: ModelSpec, choices: list[Choice], report: Report) -> Iterator[Subject]:
        """What is here, and what can be made of it."""
        for choice in choices:
            manifest = choice.candidate.manifest
            makeable = isinstance(choice.variant.source, DerivedSource)
            if manifest is None and not makeable:
                continue  # a download is the user's to ask for
            try:
                manifest = manifest or self._store.pull(spec, choice.variant, self._settings, report)
            except ConversionFailed as error:
                self._warn(error.message)
                continue
            yield Subject(choice, manifest, self._store.path(manifest))

    def _first(self, subject: Subject, reference: Subject, setting: Setting) -> Measurement | None:
        """Speed with the usual setting, and quality; None, with a warning, if the engine cannot run it."""
        try:
            speed = self._speed(subject, setting)
            quality = measure_quality(subject.choice.variant.backend, subject.path, reference.path)
        except CupolaError as error:
            self._warn(f"{subject.name} was not measured: {error.message}")
            return None
        return Measurement(
            variant=subject.choice.variant.name,
            backend=subject.choice.variant.backend,
            digest=subject.manifest.digest,
            threads=setting.threads,
            spin=setting.spin,
            prefill=speed.prefill,
            decode=speed.decode,
            load_seconds=speed.load_seconds,
            memory=speed.memory,
            quality=quality,
        )

    def _refined(
        self, found: list[Measurement], subjects: list[Subject], max_kl: float, cores: int
    ) -> list[Measurement]:
        """The same, each a second time in another order, then with the other settings of those that may be chosen."""
        by_digest = {(s.manifest.digest, s.choice.variant.backend): s for s in subjects}
        best = {(one.digest, one.backend): one for one in found}
        again = [((one.digest, one.backend), first_setting(cores)) for one in reversed(found)]
        tries = again + [
            (key, setting)
            for key in ((one.digest, one.backend) for one in contenders(found, max_kl))
            for setting in further_settings(key[1], cores)
        ]
        for number, (key, setting) in enumerate(tries):
            spinning = "spinning" if setting.spin else "not spinning"
            self._tell(0.5 + 0.5 * number / len(tries), f"{by_digest[key].name}: {setting.threads} threads, {spinning}")
            speed = self._speed(by_digest[key], setting)
            tried = best[key].model_copy(
                update={**msgspec.structs.asdict(speed), "threads": setting.threads, "spin": setting.spin}
            )
            best[key] = min(best[key], tried, key=lambda one: one.seconds)
        return list(best.values())

    def _speed(self, subject: Subject, setting: Setting) -> Speed:
        """One measurement, in a process of its own. Raises LoadFailed."""
        placement = Placement(
            threads=setting.threads,
            slots=max(SEQUENCES),
            spin=setting.spin,
            context=CONTEXT,
            device=subject.choice.device or "cpu",
        )
        order = Order(subject.choice.variant.backend, str(subject.path), placement)
        command = [sys.executable, "-P", "-m", "server.tune.measure", msgspec.json.encode(order).decode()]
        try:
            done = subprocess.run(
                command, env=child_environment(), capture_output=True, check=False, timeout=TIMEOUT, text=True
            )
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"{subject.name} was not measured within {TIMEOUT:.0f} s.") from None
        return _answer(done.stdout, done.stderr, subject.name)


def _answer(output: str, errors: str, name: str) -> Speed:
    line = output.strip().rpartition("\n")[2]
    try:
        return msgspec.json.decode(line, type=Speed)
    except msgspec.DecodeError:
        pass
    try:
        reason = msgspec.json.decode(line, type=Refused).error
    except msgspec.DecodeError:
        reason = (errors.strip().splitlines() or ["its process ended without a word"])[-1][:300]
    raise LoadFailed(f"{name}: {reason}")


def _reference(subjects: list[Subject]) -> Subject:
    """The best source: of what was not made here the one with most bits, and GGUF, which is computed in float32."""
    sources = [s for s in subjects if not isinstance(s.choice.variant.source, DerivedSource)] or subjects
    ggufs = [s for s in sources if s.choice.variant.format == "gguf"] or sources
    return max(ggufs, key=lambda subject: subject.manifest.size)
