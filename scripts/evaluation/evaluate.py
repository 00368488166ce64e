"""Every target answers the same examples; the answers are scored and compared with the first's."""

import hashlib
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec

from server.errors import InvalidValue
from server.models.files import storage_errors, write_atomically

from .. import examples
from ..reporting import Reporter
from . import harness, metrics
from .answers import Answer, Book, book, questions
from .found import Comparison, Evaluation, Target
from .measures import Measured, measure
from .memory import Peak
from .order import Order
from .statistics import compare, figure
from .targets import Found, look, ready

RESULT, PAGE = "evaluation.json", "evaluation.html"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a target said and what it took."""

    answers: list[Answer]
    memory: int | None
    not_measured: dict[str, str]


def evaluate(order: Order, reporter: Reporter) -> Evaluation:
    """With `order.out`, answers are kept there and the report is written: evaluation.json and evaluation.html.

    Raises InvalidValue for what cannot be asked, ModelNotFound and ModelNotPulled for a target that is not here, and
    CupolaError where one fails.
    """
    began = time.monotonic()
    file, asked = _read(order)
    found = {target: look(target, order) for target in order.targets}
    if order.out is not None:
        with storage_errors(order.out):
            order.out.mkdir(parents=True, exist_ok=True)
    measured: dict[str, Measured] = {}
    targets: list[Target] = []
    for number, target in enumerate(order.targets):
        said = _ask(target, found[target], asked, order, _Share(reporter, target, number, len(order.targets)))
        measured[target] = measure(said.answers, asked, order)
        scores, missing = harness.figures(target, order)
        told = _target(target, found[target], said, measured[target], order)
        updated = {"metrics": told.metrics | scores, "not_measured": told.not_measured | missing}
        targets.append(told.model_copy(update=updated))
    evaluation = Evaluation(
        data=str(file),
        data_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        examples=len(asked),
        order=order.model_dump(mode="json"),
        targets=targets,
        comparisons=_comparisons(measured, order),
        seconds=time.monotonic() - began,
    )
    if order.out is not None:
        _write(order.out, evaluation)
    return evaluation


def _read(order: Order) -> tuple[Path, list[examples.Example]]:
    """The file of the examples and what is in it, when everything that can be checked first is right."""
    order.check()
    harness.check(order)
    metrics.check(order.metrics, schema=order.schema_document() is not None)
    file = order.data / "test.jsonl" if order.data.is_dir() else order.data
    asked = examples.read(file)[: order.limit]
    if any(not example.messages for example in asked):
        raise InvalidValue(f"{file} holds plain texts; what is measured here needs messages.")
    if set(metrics.CLASSES) & set(order.metrics):
        wanted = [example.answer for example in asked]
        metrics.classes(wanted, wanted, order.field)
    return file, asked


@dataclass(frozen=True, slots=True)
class _Share:
    """The part of the progress that one of several targets is."""

    reporter: Reporter
    target: str
    number: int
    count: int

    def step(self, fraction: float, doing: str) -> None:
        self.reporter.step((self.number + fraction) / self.count, f"{self.target}: {doing}")


def _ask(target: str, found: Found, asked: list[examples.Example], order: Order, share: _Share) -> _Asked:
    identity = order.identity(target, found.content)
    every = questions(asked, order, identity)
    not_measured: dict[str, str] = {}
    with book(order.out, target) as kept, storage_errors(order.out or Path()):
        missing = [one for one in every if one.key not in kept.answers]
        if missing:
            share.step((len(every) - len(missing)) / len(every), "starting")
            with ready(target, order) as target_ready:
                for number, answer in enumerate(target_ready.ask(missing), len(every) - len(missing) + 1):
                    _remember(kept, identity, target_ready.peak)  # first: a kill after the last answer loses nothing
                    kept.add(msgspec.structs.replace(answer, setting=identity))
                    share.step(number / len(every), "answering")
                _remember(kept, identity, target_ready.peak)
            not_measured |= target_ready.not_measured
        memory = kept.answers.get(identity)
        answers = [kept.answers[one.key] for one in every]
    return _Asked(answers, None if memory is None else memory.memory, not_measured)


def _remember(kept: Book, identity: str, peak: Peak | None) -> None:
    """The memory of a run, when there is more of it than was written down."""
    before = kept.answers.get(identity)
    if peak is not None and peak.value > (before.memory or 0 if before else 0):
        kept.add(Answer(key=identity, memory=peak.value))


def _target(target: str, found: Found, said: _Asked, measured: Measured, order: Order) -> Target:
    kind = order.kind(target)
    reasons = measured.not_measured | said.not_measured
    if kind == "served":
        reasons["memory_bytes"] = reasons["size_bytes"] = "a server that runs already is not ours to look into"
    elif said.memory is None:
        reasons["memory_bytes"] = "its answers were kept by a run that ended before it was written down"
    if order.json_mode and kind == "checkpoint":
        reasons["json_mode"] = "PyTorch writes freely; only servers hold answers to JSON"
    return Target(
        target=target,
        kind=kind,
        metrics={name: figure(one, order.resamples, order.seed) for name, one in measured.statistics.items()},
        classes=measured.classes,
        memory_bytes=said.memory,
        size_bytes=found.size,
        cut=sum(answer.cut for answer in said.answers),
        not_measured=reasons,
    )


def _comparisons(measured: dict[str, Measured], order: Order) -> list[Comparison]:
    """Of each later target with the first, by every metric that both have."""
    first, *others = order.targets
    base = measured[first].statistics
    made = (
        compare(target, name, base[name], statistic, order.resamples, order.seed)
        for target, (name, statistic) in chain.from_iterable(
            ((target, item) for item in measured[target].statistics.items()) for target in others
        )
        if name in base
    )
    return [one for one in made if one is not None]


def _write(folder: Path, evaluation: Evaluation) -> None:
    from .page import render

    with storage_errors(folder):
        write_atomically(folder / RESULT, evaluation.model_dump_json(indent=2) + "\n")
        write_atomically(folder / PAGE, render(evaluation))
