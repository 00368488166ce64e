"""Which variant of a model serves best on this device, and why. Pure.

First what cannot run here goes: no engine, no device, no room. What gives quality away goes unless it was measured to
be close enough, or was asked for by name. Then measured speed decides; where nothing was measured, priors: NPU, vendor
GPU, generic GPU, processor; and on a processor an ONNX artifact of a small model, whose 8-bit kernels decode several
sequences about twice as fast as llama.cpp does Q4_1 (docs/performance.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..hardware.place import CLASSES, Facts, class_of
from .manifest import Manifest
from .spec import NO_ENGINE, DerivedSource, Variant
from .tuning import MANY, ONE, Measurement, Tuning

# Parameters up to which 8-bit weights are no burden: a large model is bound by the bytes it reads at each token.
SMALL = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant on one engine. `needs`: bytes with KV entries, None where unknown. `manifest`: if it is here."""

    variant: Variant
    manifest: Manifest | None
    needs: int | None = None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a candidate is not to be used: it cannot run, does not fit, or says too much otherwise than its source."""

    kind: Literal["engine", "device", "memory", "quality"]
    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate in its place, and why it stands there."""

    candidate: Candidate
    device: str | None
    obstacle: Obstacle | None
    reason: str
    measurement: Measurement | None = None

    @property
    def variant(self) -> Variant:
        return self.candidate.variant

    @property
    def usable(self) -> bool:
        return self.obstacle is None


def rank(
    candidates: Sequence[Candidate],
    facts: Facts,
    tuning: Tuning | None,
    parameters: int | None,
    *,
    asked: bool = False,
) -> list[Choice]:
    """The candidates, best first; those with an obstacle last. They come in the order of models.yaml.

    `asked`: they are one variant that was asked for by its name, so its quality is the asker's to judge.
    """
    choices = [_judge(candidate, facts, tuning, parameters, asked=asked) for candidate in candidates]
    order = {id(choice): place for place, choice in enumerate(choices)}
    return sorted(choices, key=lambda choice: (*_key(choice, parameters), order[id(choice)]))


def _judge(candidate: Candidate, facts: Facts, tuning: Tuning | None, parameters: int | None, *, asked: bool) -> Choice:
    variant = candidate.variant
    device = facts.device_of(variant.backend, variant.devices)
    measurement = _measured(candidate, tuning)
    obstacle = _obstacle(candidate, facts, device) or (None if asked else _loss(variant, measurement, tuning))
    reason = obstacle.text if obstacle else _reason(candidate, device, measurement, parameters)
    return Choice(candidate, device, obstacle, reason, measurement)


def _measured(candidate: Candidate, tuning: Tuning | None) -> Measurement | None:
    if tuning is None or candidate.manifest is None:
        return None
    return tuning.of(candidate.manifest.digest, candidate.variant.backend)


def _obstacle(candidate: Candidate, facts: Facts, device: str | None) -> Obstacle | None:
    variant = candidate.variant
    if variant.backend == NO_ENGINE:
        return Obstacle("engine", f"no engine runs {variant.format}; other variants are made of it")
    if variant.backend not in facts.reach:
        fix = facts.lacking.get(variant.backend, "")
        return Obstacle("engine", f"the {variant.backend} engine is not usable here{f': {fix}' if fix else ''}")
    if device is None:
        devices = ", ".join(variant.devices)
        return Obstacle("device", f"it runs on {devices}, which the {variant.backend} engine does not reach here")
    room = facts.room_on(device)
    if candidate.needs is not None and candidate.needs > room:
        return Obstacle("memory", f"it needs {candidate.needs:,} bytes and {room:,} are free")
    return None


def _loss(variant: Variant, measurement: Measurement | None, tuning: Tuning | None) -> Obstacle | None:
    """Why its quality forbids it, unless it was asked for by name."""
    if measurement is not None and tuning is not None:
        found = measurement.divergence
        if found is not None:
            far = found > tuning.limit
            return Obstacle("quality", f"its divergence of {found:.3g} is beyond {tuning.limit:.3g}") if far else None
    if variant.lossy:
        return Obstacle("quality", "it gives quality away, and how much was not measured here (cupola tune)")
    return None


def _reason(candidate: Candidate, device: str | None, measurement: Measurement | None, parameters: int | None) -> str:
    if measurement is not None:
        one, many = measurement.decode[ONE], measurement.decode[MANY]
        quality = "quality not measured" if measurement.divergence is None else f"KL {measurement.divergence:.2g}"
        return (
            f"measured: {one:.0f} tokens/s alone, {many:.0f} for {MANY}, prompts {measurement.prefill:.0f}, {quality}"
        )
    place = CLASSES[class_of(device)][0] if device else "no device"
    if device == "cpu" and _prefers_onnx(candidate.variant, parameters):
        return f"{place}; 8-bit ONNX of a small model decodes several sequences fastest"
    return place


def _key(choice: Choice, parameters: int | None) -> tuple[float, ...]:
    if choice.obstacle:
        return (2.0,)
    if choice.measurement is not None:
        return (0.0, choice.measurement.seconds)
    preferred = choice.device == "cpu" and _prefers_onnx(choice.variant, parameters)
    return (1.0, float(class_of(choice.device or "")), 0.0 if preferred else 1.0)


def _prefers_onnx(variant: Variant, parameters: int | None) -> bool:
    source = variant.source
    faithful = isinstance(source, DerivedSource) and source.converter == "gguf-to-onnx" and not variant.lossy
    return faithful and parameters is not None and parameters <= SMALL
