"""`cupola tune`: measure every variant that can run here, and keep what was found for the choice to come."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ..environment import child_environment
from ..errors import ConversionFailed, CupolaError, InvalidValue, LoadFailed
from ..hardware.cpu import usable_cores
from ..models.choice import Chooser
from ..models.conversion import measure_quality
from ..models.manifest import Manifest
from ..models.progress import Report
from ..models.select import Choice
from ..models.spec import DerivedSource, ModelSpec
from ..models.store import Store
from ..models.tuning import MANY, Measurement, Tuning, read_tuning, write_tuning
from ..runners.base import Placement
from ..settings import Settings
from .measure import LONGEST, Order, Refused, Speed
from .plan import Setting, contenders, first_setting, further_settings, runnable

CONTEXT = 2 * LONGEST
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
        """Make candidates, measure them, and keep the result.

        Raises LoadFailed where nothing could be measured, InvalidValue for a model that writes no text.
        """
        spec, choices = self._chooser.ranking_with_sizes(name, CONTEXT, MANY)
        if spec.encodes:
            raise InvalidValue(f"{spec.name} makes embeddings; what is measured here is how fast a model writes text.")
        subjects = list(self._subjects(spec, runnable(choices, create=create), report))
        cores = self._settings.threads or usable_cores()
        reference = self._reference(spec)
        if reference is None:
            self._warn(f"No GGUF of {spec.name} is here to compare with, so quality is not measured.")
        found: list[Measurement] = []
        for number, subject in enumerate(subjects):
            self._tell(0.5 * number / len(subjects), f"{subject.name}: quality and speed")
            if measurement := self._first(subject, reference, first_setting(cores)):
                found.append(measurement)
        if not found:
            raise LoadFailed(f"No variant of {spec.name} could be measured. See: cupola show {spec.name}")
        tuning = self._result(spec, found, max_kl)
        refined = self._refined(found, subjects, tuning.limit, cores)
        tuning = self._result(spec, refined, max_kl)
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

    def _result(self, spec: ModelSpec, found: list[Measurement], max_kl: float) -> Tuning:
        """What is known now: what was just measured, and what was measured before of other variants and engines."""
        device = self._chooser.facts.fingerprint
        earlier = read_tuning(self._settings.home, device, spec.name)
        again = {(one.digest, one.backend) for one in found}
        kept = [one for one in (earlier.measurements if earlier else ()) if (one.digest, one.backend) not in again]
        measurements = tuple(sorted([*found, *kept], key=lambda one: one.seconds))
        return Tuning(
            model=spec.name, device=device, created=datetime.now(UTC), max_kl=max_kl, measurements=measurements
        )

    def _reference(self, spec: ModelSpec) -> Path | None:
        """The best source that is here, to be computed in float32: the GGUF with most bits of those not made here."""
        ggufs = [v for v in spec.variants if v.format == "gguf" and not isinstance(v.source, DerivedSource)]
        here = [manifest for variant in ggufs if (manifest := self._store.manifest(spec, variant))]
        best = max(here, key=lambda manifest: manifest.size, default=None)
        return self._store.path(best) if best else None

    def _first(self, subject: Subject, reference: Path | None, setting: Setting) -> Measurement | None:
        """Speed with the usual setting, and quality; None, with a warning, if the engine cannot run it."""
        try:
            speed = self._speed(subject, setting)
            device = subject.choice.device or "cpu"
            quality = reference and measure_quality(subject.choice.variant.backend, subject.path, reference, device)
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
            quality=quality or None,
        )

    def _refined(
        self, found: list[Measurement], subjects: list[Subject], limit: float, cores: int
    ) -> list[Measurement]:
        """The same, each a second time in another order, then with the other settings of those that may be chosen."""
        by_digest = {(s.manifest.digest, s.choice.variant.backend): s for s in subjects}
        best = {(one.digest, one.backend): one for one in found}
        again = [((one.digest, one.backend), first_setting(cores)) for one in reversed(found)]
        tries = again + [
            (key, setting)
            for key in ((one.digest, one.backend) for one in contenders(found, limit))
            for setting in further_settings(key[1], cores)
        ]
        for number, (key, setting) in enumerate(tries):
            spinning = "spinning" if setting.spin else "not spinning"
            self._tell(0.5 + 0.5 * number / len(tries), f"{by_digest[key].name}: {setting.threads} threads, {spinning}")
            try:
                speed = self._speed(by_digest[key], setting)
            except LoadFailed as error:
                self._warn(error.message)
                continue
            tried = best[key].model_copy(
                update={**msgspec.structs.asdict(speed), "threads": setting.threads, "spin": setting.spin}
            )
            best[key] = min(best[key], tried, key=lambda one: one.seconds)
        return list(best.values())

    def _speed(self, subject: Subject, setting: Setting) -> Speed:
        """One measurement, in a process of its own. Raises LoadFailed."""
        placement = Placement(
            threads=setting.threads,
            slots=MANY,
            spin=setting.spin,
            context=CONTEXT,
            device=subject.choice.device or "cpu",
        )
        order = Order(subject.choice.variant.backend, str(subject.path), placement)
        return _answer(_asked(order), subject.name)


def _asked(order: Order) -> str:
    """What the measuring process printed. It is ended after TIMEOUT, and when we end."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "server.tune.measure"],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    try:
        with suppress(BrokenPipeError):  # it died at its start; its last words say of what
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        return process.stdout.read().decode("utf-8", "replace")
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _answer(output: str, name: str) -> Speed:
    """The result among what libraries said. Raises LoadFailed with the reason, or with the last words."""
    lines = output.strip().splitlines()
    for line in reversed(lines):
        try:
            answer = msgspec.json.decode(line, type=Speed | Refused)
        except msgspec.DecodeError:
            continue  # a library's own words
        if isinstance(answer, Speed):
            return answer
        raise LoadFailed(f"{name}: {answer.error}")
    words = lines[-1][:300] if lines else "its process ended without a word, or was not done in time"
    raise LoadFailed(f"{name}: {words}")
