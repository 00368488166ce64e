"""`cupola doctor`: what this device has, which engines can use it, and how to mend what cannot be used."""

import json
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from ..hardware.place import facts_of
from ..hardware.probe import read_system
from ..hardware.types import Cpu, Device, Engine, System
from ..models.choice import Chooser
from ..models.registry import Registry
from ..models.select import Choice
from ..models.spec import ModelSpec
from ..models.store import Store
from ..settings import load_settings
from .choosing import described
from .progress import megabytes


def register(app: typer.Typer) -> None:
    app.command(epilog="Examples: cupola doctor · cupola doctor --json")(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what this device has, which engines can use it and how to mend what cannot be used.

    The exit status is 1 where no engine is usable.
    """
    settings = load_settings()
    system = read_system(settings.home)
    registry = Registry.load(settings.overlay)
    chooser = Chooser(registry, Store(settings.home), facts_of(system))
    served = [(spec, _here(choices)) for spec, choices in map(chooser.ranking, (m.name for m in registry.models))]
    served = [(spec, choices) for spec, choices in served if choices]
    if as_json:
        models = {spec.name: [described(spec, choice) for choice in choices] for spec, choices in served}
        typer.echo(json.dumps({**msgspec.to_builtins(system), "models": models}, indent=2))
    else:
        typer.echo("\n".join([*_report(system), *_models(served)]))
    if not any(engine.usable for engine in system.engines):
        raise typer.Exit(1)


def _here(choices: list[Choice]) -> list[Choice]:
    """Those whose files are on this device; what needs none is no model of anybody's."""
    return [choice for choice in choices if choice.candidate.manifest and choice.variant.source]


def _models(served: list[tuple[ModelSpec, list[Choice]]]) -> Iterator[str]:
    """What serves each model that is here, and why."""
    if served:
        yield f"\n{'MODEL':<31} {'SERVED AS':<22}  WHY"
    for spec, choices in served:
        first = choices[0]
        variant = f"{first.variant.name} on {first.variant.backend}" if first.usable else "nothing"
        yield f"{spec.name:<31} {variant:<22}  {first.reason}"


def _report(system: System) -> Iterator[str]:
    memory = system.memory
    limit = f", limited to {megabytes(memory.limit)} by a control group" if memory.limit is not None else ""
    yield f"{'System':<10}{system.platform}"
    yield f"{'Processor':<10}{system.cpu.model}, {system.cpu.architecture}: {_cores(system.cpu)}"
    yield f"{'':<10}{', '.join(system.cpu.instructions) or 'no instruction set that engines have kernels for'}"
    yield f"{'Memory':<10}{megabytes(memory.usable)} usable of {megabytes(memory.total)}{limit}"
    yield f"{'Disk':<10}{megabytes(system.disk_free)} free for models"
    yield f"\n{'DEVICE':<40} {'KIND':<9} {'MEMORY':>9}  STATE"
    yield from map(_device, system.devices) if system.devices else ["none besides the processor"]
    yield f"\n{'ENGINE':<7} {'PACKAGE':<32} {'STATE':<8}  BUILT FOR"
    yield from map(_engine, system.engines)
    for problem in system.problems:
        yield f"\nProblem: {problem.message}"
        if problem.fix:
            yield f"  Mend it: {problem.fix}"


def _cores(cpu: Cpu) -> str:
    quota = f", quota {cpu.quota:g}" if cpu.quota is not None else ""
    return f"{cpu.physical_cores} cores, {cpu.logical_cores} threads{quota}; {cpu.usable_cores:g} usable"


def _device(device: Device) -> str:
    return f"{device.name:<40} {device.kind:<9} {megabytes(device.memory):>9}  {device.state}"


def _engine(engine: Engine) -> str:
    package = f"{engine.distribution} {engine.version}" if engine.distribution else "not installed"
    return f"{engine.name:<7} {package:<32} {engine.state:<8}  {', '.join(engine.providers)}".rstrip()
