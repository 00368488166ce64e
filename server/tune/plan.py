"""What is measured, in which order. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..models.select import Choice
from ..models.tuning import Measurement

NEAR = 1.5  # times the time of the fastest; another setting does not make up for more


@dataclass(frozen=True, slots=True)
class Setting:
    """How an engine uses the cores."""

    threads: int
    spin: bool


def first_setting(cores: int) -> Setting:
    """What an engine gets where nothing was measured."""
    return Setting(cores, spin=True)


def further_settings(backend: str, cores: int) -> list[Setting]:
    """The others worth a try. Only the onnx engine has a switch for spinning."""
    counts = dict.fromkeys([cores, max(1, cores * 3 // 4), max(1, cores // 2)])
    spins = (True, False) if backend == "onnx" else (True,)
    every = [Setting(threads, spin) for threads in counts for spin in spins]
    return [setting for setting in every if setting != first_setting(cores)]


def runnable(choices: Iterable[Choice], *, create: bool) -> list[Choice]:
    """One choice for each variant, on the engine that stands first; made here only where that is allowed.

    What gives quality away belongs to it: that is what is to be measured.
    """
    found: dict[str, Choice] = {}
    for choice in choices:
        possible = choice.device is not None and (choice.candidate.manifest is not None or create)
        fits = choice.obstacle is None or choice.obstacle.kind == "quality"
        if possible and fits:
            found.setdefault(choice.variant.name, choice)
    return list(found.values())


def contenders(measured: list[Measurement], limit: float) -> list[Measurement]:
    """Those whose thread settings are worth measuring too: close enough to the source, and to the fastest."""
    allowed = [one for one in measured if one.divergence is None or one.divergence <= limit]
    best = min((one.seconds for one in allowed), default=0.0)
    return [one for one in allowed if one.seconds <= NEAR * best]
