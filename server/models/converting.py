"""A chain of converters, run one after the other."""

from dataclasses import dataclass
from pathlib import Path

from . import conversion
from .chain import Stage
from .progress import Report


@dataclass(frozen=True, slots=True)
class Plan:
    """What is converted, by what, and what to call the result among those of one model."""

    origin: Path
    stages: list[Stage]
    label: str


def run(plan: Plan, folder: Path, work: Path, report: Report) -> None:
    """Only the last converter writes the folder, the others into `work`. Raises ConversionFailed.

    They end when we do, however we end.
    """
    origin, last = plan.origin, plan.stages[-1]
    for number, stage in enumerate(plan.stages):
        name = origin.stem if origin.suffix == ".gguf" else origin.name
        target = folder if stage is last else work / str(number) / name
        arguments = [stage.converter, str(origin), *stage.inputs, str(target), *stage.options]
        paths = [origin] if origin.is_file() else [path for path in origin.iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in paths)
        conversion.run(arguments, f"{origin.name} cannot be converted", stage.converter, size, report)
        files = sorted(target.glob("*.gguf"))
        origin = files[0] if files else target
