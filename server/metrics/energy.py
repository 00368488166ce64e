"""Joules of the device, from what its processors and GPUs count themselves, and each model's share of them.

Linux tells a package's energy in `/sys/class/powercap` (RAPL of Intel and AMD; by default root alone may read it), and
NVIDIA's library a GPU's. What the processors took between two looks belongs to a model by its worker's share of the
time in which any processor was busy, so that what other programs take is not put down to it. What a GPU took is shared
by the workers on GPUs. Each look adds: any number of scrapers may ask.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from . import families as own
from .nvml import Gpus
from .picture import LoadedModel, Picture
from .writing import Models, single

log = logging.getLogger(__name__)

MICRO = 1e-6


class Source(Protocol):
    """Counters of energy."""

    def read(self) -> Mapping[str, float]:
        """Joules by domain since some moment; they never fall."""
        ...


@dataclass(slots=True)
class _Package:
    energy: Path
    range: int  # microjoules at which the counter begins anew
    latest: int
    joules: float = 0.0


class Powercap:
    """Processor packages of a powercap tree. What cannot be read is left out, and said once."""

    def __init__(self, root: Path) -> None:
        self._packages: dict[str, _Package] = {}
        for folder in sorted(root.glob("*:*"), key=_interface) if root.is_dir() else []:
            # The zones inside a package are parts of it. A second interface (MMIO) counts the same package again.
            if folder.name.count(":") == 1:
                self._add(folder)

    def read(self) -> Mapping[str, float]:
        for name, package in list(self._packages.items()):
            try:
                now = int(package.energy.read_text())
            except (OSError, ValueError) as error:
                log.info("energy of %s is not measured any more: %s", name, error)
                del self._packages[name]
                continue
            moved = now - package.latest
            package.joules += (moved if moved >= 0 else moved + package.range) * MICRO
            package.latest = now
        return {name: package.joules for name, package in self._packages.items()}

    def _add(self, folder: Path) -> None:
        try:
            name = (folder / "name").read_text().strip()
            if not name.startswith("package") or name in self._packages:
                return
            energy = folder / "energy_uj"
            span = int((folder / "max_energy_range_uj").read_text())
            self._packages[name] = _Package(energy, span, int(energy.read_text()))
        except (OSError, ValueError) as error:
            log.info("energy of %s is not measured: %s", folder.name, error)


def _interface(folder: Path) -> tuple[str, ...]:
    """Sorts `intel-rapl:0` before `intel-rapl-mmio:0`."""
    return tuple(folder.name.split(":"))


@dataclass(frozen=True, slots=True)
class Look:
    """Processor seconds: of each worker by model and whether it computes on a GPU, and of the device."""

    workers: Mapping[tuple[str, bool], float]
    busy: float


class Energy:
    """Adds up joules, of the device and of models."""

    def __init__(self, processors: Source, gpus: Source) -> None:
        self._processors = processors
        self._gpus = gpus
        self.domains: dict[str, float] = {}
        self.models: dict[str, float] = {}
        self._before: Look | None = None

    @classmethod
    def of(cls, powercap: Path) -> "Energy":
        return cls(Powercap(powercap), Gpus())

    def sample(self, picture: Picture) -> None:
        """Look at the counters, and put down what they have moved by since the last look."""
        processors, gpus = self._processors.read(), self._gpus.read()
        if not processors and not gpus:
            return
        look = look_at(picture.models)
        if self._before is not None:
            cpu = sum(joules - self.domains.get(name, 0.0) for name, joules in processors.items())
            gpu = sum(joules - self.domains.get(name, 0.0) for name, joules in gpus.items())
            for model, joules in shares(self._before, look, cpu, gpu).items():
                self.models[model] = self.models.get(model, 0.0) + joules
        self._before = look
        self.domains |= {**processors, **gpus}

    def write(self, models: Models) -> Iterator[Metric]:
        """As families of the client library."""
        yield single(CounterMetricFamily, own.ENERGY, [((name,), joules) for name, joules in self.domains.items()])
        yield single(CounterMetricFamily, own.MODEL_ENERGY, [((name,), joules) for name, joules in self.models.items()])
        tokens = {model: numbers.generated_tokens for model, numbers in models.items()}
        by_token = [((model,), joules / tokens[model]) for model, joules in self.models.items() if tokens.get(model)]
        yield single(GaugeMetricFamily, own.TOKEN_ENERGY, by_token)


def look_at(models: list[LoadedModel]) -> Look:
    """The processor seconds of this moment."""
    workers: dict[tuple[str, bool], float] = {}
    for one in models:
        if one.cpu_seconds is not None:
            key = (one.model, one.device != "cpu")
            workers[key] = workers.get(key, 0.0) + one.cpu_seconds
    times = psutil.cpu_times()
    return Look(workers, sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def shares(before: Look, now: Look, cpu: float, gpu: float) -> dict[str, float]:
    """What each model took, of the joules that processors and GPUs took between two looks. Pure.

    A worker that was not there before has begun since: all of its time counts. One that was replaced by another of the
    same model has less time than before, and all of that is new.
    """
    moved = {
        key: spent - earlier if spent >= (earlier := before.workers.get(key, 0.0)) else spent
        for key, spent in now.workers.items()
    }
    busy = max(now.busy - before.busy, sum(moved.values()))
    on_gpus = sum(spent for (_, gpu_used), spent in moved.items() if gpu_used)
    found: dict[str, float] = {}
    for (model, gpu_used), spent in moved.items():
        joules = cpu * spent / busy if busy else 0.0
        if gpu_used and on_gpus:
            joules += gpu * spent / on_gpus
        found[model] = found.get(model, 0.0) + joules
    return found
