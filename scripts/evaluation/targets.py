"""Each kind of target, ready to answer, and what it costs."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.models.lineage import RECORD

from . import artifact
from .answers import Answering
from .memory import Peak, watching
from .order import Order
from .served import Served


@dataclass(frozen=True, slots=True)
class Ready:
    """A target that can be asked; `peak` grows while it is, and is None where nobody can look."""

    ask: Answering
    peak: Peak | None
    not_measured: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What a target is before it is started: its bytes on the disk, and what tells one state of its files."""

    size: int | None
    content: str


def look(target: str, order: Order) -> Found:
    """Raises InvalidValue, ModelNotFound and ModelNotPulled for what is not there."""
    match order.kind(target):
        case "served":
            return Found(None, "")
        case "artifact":
            subject = artifact.find(target)
            return _found([Path(subject.path)])
        case "checkpoint":
            from .places import place

            where = place(target)
            return _found([folder for folder in (where.folder, where.under) if folder is not None])


def _found(paths: list[Path]) -> Found:
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.is_file() and file.name != RECORD
    ]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return Found(sum(size for _, size, _ in facts), hashlib.sha256(repr(facts).encode()).hexdigest())


@contextmanager
def ready(target: str, order: Order) -> Iterator[Ready]:
    """Started or reached, loaded, and ended again. Raises CupolaError."""
    match order.kind(target):
        case "served":
            with Served(target, order) as served:
                yield Ready(served, None, served.not_measured)
        case "artifact":
            ours = order.model_copy(update={"api_key_file": None})
            with (
                artifact.serving(artifact.find(target), order.startup) as (url, pid),
                watching(pid) as peak,
                Served(url, ours) as served,
            ):
                yield Ready(served, peak, served.not_measured)
        case "checkpoint":
            from .process import Process

            with Process(target, order) as process, watching(process.pid) as peak:
                yield Ready(process, peak)
