"""Measure artifacts one after the other, each in a process of its own, on a text."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from server.child.platform import describe_exit
from server.environment import child_environment
from server.errors import CupolaError, LoadFailed
from server.hardware import cpu

from .figures import Failed, Report, Row
from .orders import Answer, ArtifactOrder, Found, Order, ReferenceOrder, Refused, Subject, Truth
from .text import MOST, Text

TIMEOUT = 3600.0  # seconds of one artifact
Tell = Callable[[float, str], None]  # fraction done, what is being done


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, against what, on which text, with how many threads."""

    subjects: list[Subject]
    reference: Subject
    text: Text
    threads: int


def report(plan: Plan, tell: Tell) -> Report:
    """Measure all of them. One that fails is told of in the report; LoadFailed is raised for the reference."""
    steps = len(plan.subjects) + 1
    rows: list[Row] = []
    failed: list[Failed] = []
    with tempfile.TemporaryDirectory(prefix="cupola-quality-") as folder:
        stored = str(Path(folder) / "rows")
        tell(0.0, f"reference {plan.reference.label}")
        truth = _ask(ReferenceOrder(plan.reference, plan.text.words, MOST, stored, plan.threads))
        assert isinstance(truth, Truth)
        for number, subject in enumerate(plan.subjects, 1):
            tell(number / steps, subject.label)
            try:
                rows.append(_row(plan, subject, truth, stored))
            except CupolaError as error:
                failed.append(Failed(artifact=subject.label, reason=error.message))
    return Report(
        created=datetime.now(UTC),
        machine=_machine(),
        threads=plan.threads,
        reference=truth.name,
        reference_perplexity=truth.perplexity,
        text=plan.text.name,
        text_sha256=plan.text.sha256,
        positions=sum(map(len, truth.sequences)),
        rows=tuple(rows),
        failed=tuple(failed),
    )


def _row(plan: Plan, subject: Subject, truth: Truth, stored: str) -> Row:
    found = _ask(
        ArtifactOrder(subject, plan.text.words, truth.name, truth.sequences, truth.vocabulary, stored, plan.threads)
    )
    assert isinstance(found, Found)
    return Row(
        artifact=subject.label,
        engine=found.engine,
        device=subject.device,
        size=subject.size,
        perplexity=found.perplexity,
        quality=found.agreement.quality(truth.name) if found.agreement else None,
        memory=found.memory,
        load_seconds=found.load_seconds,
        prefill=found.prefill,
        decode=found.decode,
        notes=found.notes,
    )


def _ask(order: Order) -> Truth | Found:
    """The answer of a probe, which is ended after TIMEOUT, and when we end. Raises LoadFailed."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "converters.report.probe"],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError):  # it died at its start; its last words say of what
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                process.stdin.flush()
            said = process.stdout.read()
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        errors.seek(0)
        return _answer(said.decode("utf-8", "replace"), errors.read().decode("utf-8", "replace"), status)


def _answer(said: str, errors: str, status: int) -> Truth | Found:
    """What was found, among what libraries said. Raises LoadFailed with the reason, or with the last words."""
    for line in reversed(said.splitlines()):
        try:
            answer: Answer = msgspec.json.decode(line, type=Answer)
        except msgspec.DecodeError:
            continue  # a library's own words
        if isinstance(answer, Refused):
            raise LoadFailed(answer.message)
        return answer
    words = (errors.strip() or said.strip()).splitlines()
    raise LoadFailed(f"its process ended ({describe_exit(status)}){f': {words[-1][:300]}' if words else ''}")


def _machine() -> str:
    found = cpu.read()
    extensions = ", ".join(found.instructions)
    return f"{found.model}, {found.usable_cores:g} cores{f' ({extensions})' if extensions else ''}"
