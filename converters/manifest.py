"""Writing the record of an artifact (`server.models.lineage`): last, once its files are as they will stay."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

from server.child.platform import peak_memory
from server.errors import InvalidValue
from server.models import gguf
from server.models.files import write_atomically
from server.models.lineage import (
    RECORD,
    Record,
    Scalar,
    Step,
    StoredFile,
    digest,
    now,
    of_files,
    read_record,
    recorded,
    recorded_as,
)
from server.models.quality import Quality

from . import model_card


@dataclass
class Work:
    """A step under way: who does it with what. `finish` says how long it took and what memory it needed."""

    tool: str
    parameters: dict[str, Scalar]
    libraries: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    before: tuple[Step, ...] = ()
    base_model: str = ""
    licence: str = "unknown"
    started: float = field(default_factory=perf_counter)

    def read(self, source: Path) -> None:
        """Note a source (file or folder) and take over its history, if its record is of the very files."""
        folder = source if source.is_dir() else source.parent
        files = _read(source)
        record = of_files(read_record(folder), files)
        if record is not None:
            self.before += record.steps
            self.base_model = self.base_model or record.base_model
            self.licence = record.licence if self.licence == "unknown" else self.licence
        else:
            name, licence = _stated(source)
            self.base_model = self.base_model or name
            self.licence = licence if self.licence == "unknown" else self.licence
        name = source.resolve().name
        while name in self.inputs:  # a base and an adapter may both be called model
            name += "'"
        self.inputs[name] = digest(files) if record is None else record.digest

    def step(self) -> Step:
        return Step(
            tool=self.tool,
            parameters=self.parameters,
            versions=dict(_versions(("cupola", *self.libraries))),
            inputs=self.inputs,
            datasets=self.datasets,
            seconds=round(perf_counter() - self.started, 2),
            peak_memory=peak_memory(),
        )


def write(folder: Path, work: Work, *, tensor_types: dict[str, int], parameters: int | None = None) -> Record:
    """Write `cupola.json` into a folder whose other files are there and stay as they are."""
    files = recorded(folder)
    record = Record(
        base_model=work.base_model,
        licence=work.licence,
        parameters=parameters,
        tensor_types=tensor_types,
        steps=(*work.before, work.step()),
        files=files,
        digest=digest(files),
        **now(),
    )
    write_atomically(folder / RECORD, record.model_dump_json(indent=1))
    return record


def add_quality(folder: Path, quality: Quality) -> None:
    """Say in the record of a finished folder how good it turned out. Raises InvalidValue where there is no record."""
    record = read_record(folder)
    if record is None:
        raise InvalidValue(f"{folder} has no {RECORD}, so no quality can be recorded there.")
    write_atomically(folder / RECORD, record.model_copy(update={"quality": quality}).model_dump_json(indent=1))


def _read(source: Path) -> tuple[StoredFile, ...]:
    """The files of a source that a converter reads. Repositories keep other formats in folders beside: not those."""
    if source.is_file():
        return recorded(source)
    if not source.is_dir():
        raise InvalidValue(f"{source} is neither a file nor a folder, and is not read.")
    paths = sorted(path for path in source.iterdir() if path.is_file() and path.name != RECORD)
    return tuple(recorded_as(path, path.name) for path in paths if not path.name.startswith("."))


def count_types(model: gguf.Gguf) -> dict[str, int]:
    """How many tensors of a GGUF file are stored in which type."""
    names = sorted(info.kind for info in model.tensors.values())
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _stated(source: Path) -> tuple[str, str]:
    """The name and the licence that a model without a record states itself: a GGUF file, or a folder's model card."""
    if source.suffix == ".gguf":
        stated = gguf.read(source).metadata
        name, licence = stated.get("general.name"), stated.get("general.license")
        name = name if isinstance(name, str) and name else source.stem
        return name, licence if isinstance(licence, str) and licence else "unknown"
    return source.resolve().name, model_card.licence(source)


def _versions(distributions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in distributions:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
