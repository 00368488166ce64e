"""Inputs in, examples out: teachers are asked, answers checked, the most common one kept, and graded."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from server.errors import CupolaError, InvalidValue
from server.models.files import storage_errors, write_atomically

from ..examples import Example, write
from ..reporting import Reporter
from .asking import Asking
from .client import Question
from .generating import Written, write_inputs
from .journal import Journal, Reply, journal
from .judging import Judged, judged
from .order import Order, Teacher
from .prompts import Prompt, prompts_of, read_fields
from .report import Figures, Report, clock, figures
from .task import Task, find
from .voting import Rejected, Vote, elect

NOTHING = Written([], [], [])


class _Made(msgspec.Struct, frozen=True):
    """Everything that a report is about."""

    prompts: list[Prompt]
    replies: list[Reply]
    judged: Judged
    written: Written
    examples: list[Example]

    @property
    def rejected(self) -> list[Rejected]:
        inputs = [
            Rejected("", reply.teacher, reason, detail, reply.text) for reply, reason, detail in self.written.rejected
        ]
        return [*inputs, *(lost for vote in self.judged.votes for lost in vote.rejected)]


def teach(order: Order, out: Path, reporter: Reporter) -> Report:
    """Write OUT.jsonl, OUT.rejected.jsonl and OUT.report.json, and OUT.inputs.jsonl where inputs were generated.

    Killed, it goes on from OUT.journal.jsonl. Raises InvalidValue for bad prompts, a bad task or key, and CupolaError
    when a teacher refuses or is silent, or no answer is kept.
    """
    name, task = find(order.task) if order.task else ("", None)
    lines = read_fields(order.prompts, task)
    _refuse_over(order.prompts, out)
    prompts_of(lines, task)  # what is wrong with them is said before anything is asked
    for teacher in order.teachers:
        order.headers(teacher)
    with storage_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with journal(out.with_suffix(".journal.jsonl")) as kept, Asking(order, kept, reporter) as asking:
            made = _make(lines, (name, task), order, asking, reporter)
            report = _report(made, name, order, kept, asking)
            if report.unanswered:
                reporter.say(f"{report.unanswered} requests got no answer; the same command asks them again.")
        _lines(out.with_suffix(".rejected.jsonl"), made.rejected)
        if order.generate:
            _lines(out.with_suffix(".inputs.jsonl"), [prompt.fields for prompt in made.prompts])
        write_atomically(out.with_suffix(".report.json"), msgspec.json.encode(report).decode())
    if not made.examples:
        raise CupolaError(f"No answer was kept of {len(made.replies)}: {report.rejected}.")
    write(out, made.examples)
    return report


def _refuse_over(prompts: Path, out: Path) -> None:
    suffixes = (".journal.jsonl", ".rejected.jsonl", ".inputs.jsonl", ".report.json")
    if prompts.resolve() in {path.resolve() for path in (out, *map(out.with_suffix, suffixes))}:
        raise InvalidValue(f"{prompts} would be written over by what is made of it; choose another name than {out}.")


def _make(
    lines: list[dict[str, Any]], told: tuple[str, Task | None], order: Order, asking: Asking, reporter: Reporter
) -> _Made:
    name, task = told
    written = write_inputs(lines, task, order, asking, reporter) if order.generate else NOTHING
    prompts = prompts_of([*lines, *written.lines], task)
    questions = [_questions(prompt, name, order) for prompt in prompts]
    replies = asking.all([question for some in questions for question in some], "asking")
    each = len(order.teachers) * order.samples
    votes = [elect(prompt, replies[at * each : (at + 1) * each], task, order) for at, prompt in enumerate(prompts)]
    result = judged(votes, order.judge, order, asking) if order.judge else Judged(votes, {}, [])
    examples = [example for vote in result.votes for example in _examples(vote, name, result.grades)]
    return _Made(prompts, replies, result, written, examples)


def _questions(prompt: Prompt, name: str, order: Order) -> list[Question]:
    """Each teacher's samples of a prompt."""
    messages = tuple({"role": turn.role, "content": turn.content} for turn in prompt.messages)
    schema = prompt.schema if order.structured else None
    return [
        Question(teacher, messages, seed, order.temperature, order.max_tokens, schema, name or "answer")
        for teacher in order.teachers
        for seed in range(order.samples)
    ]


def _examples(vote: Vote, name: str, grades: dict[str, int]) -> list[Example]:
    made = []
    for number, party in enumerate(vote.chosen):
        meta: dict[str, Any] = {"teacher": party.replies[0].teacher, "votes": len(party.replies)}
        meta |= {"task": name} if name else {}
        meta |= {"grade": grades[party.key]} if party.key in grades else {}
        identity = vote.prompt.id if len(vote.chosen) == 1 else f"{vote.prompt.id}-{number}"
        made.append(Example(party.usable.turns, id=identity, label=party.usable.label, meta=meta))
    return made


def _lines(path: Path, things: list[Any]) -> None:
    write_atomically(path, b"".join(msgspec.json.encode(thing) + b"\n" for thing in things).decode())


def _report(made: _Made, name: str, order: Order, kept: Journal, asking: Asking) -> Report:
    replies = [*made.replies, *made.judged.replies, *made.written.replies]
    runs, seconds = clock(replies, kept.run, asking.seconds)
    teachers = _teachers(made, order)
    costs = [one.cost for one in teachers.values()]
    return Report(
        prompts=len(made.prompts),
        generated=len(made.written.lines),
        accepted=sum(bool(vote.chosen) for vote in made.judged.votes),
        examples=len(made.examples),
        requests=asking.sent,
        runs=runs,
        seconds=seconds,
        prompt_tokens=sum(one.prompt_tokens for one in teachers.values()),
        completion_tokens=sum(one.completion_tokens for one in teachers.values()),
        cost=None if None in costs else round(sum(cost or 0.0 for cost in costs), 6),
        rejected=dict(Counter(lost.reason for lost in made.rejected).most_common()),
        unanswered=sum(reply.unanswered for reply in (*made.replies, *made.judged.replies)),
        teachers=teachers,
        prompts_sha256=hashlib.sha256(order.prompts.read_bytes()).hexdigest(),
        task=name,
        order=order.model_dump(mode="json"),
    )


def _teachers(made: _Made, order: Order) -> dict[str, Figures]:
    """Figures by teacher and part."""
    found: dict[str, Figures] = {}
    accepted = Counter(reply.teacher for vote in made.judged.votes for party in vote.chosen for reply in party.replies)
    for teacher in order.teachers:
        own = [reply for reply in made.replies if reply.teacher == teacher.at]
        lost = Counter(
            lost.reason for vote in made.judged.votes for lost in vote.rejected if lost.teacher == teacher.at
        )
        found[teacher.at] = figures(own, accepted[teacher.at], lost, order.price_of(teacher))
    if order.judge:
        judge: Teacher = order.judge.teacher or order.teachers[0]
        passed = sum(grade >= order.judge.threshold for grade in made.judged.grades.values())
        refused = Counter({"low grade": len(made.judged.grades) - passed}) if made.judged.grades else Counter[str]()
        found[f"{judge.at} (judge)"] = figures(made.judged.replies, passed, +refused, order.price_of(judge))
    if order.generate:
        first = order.teachers[0]
        why = Counter(reason for _, reason, _ in made.written.rejected)
        written = len(made.written.lines)
        found[f"{first.at} (inputs)"] = figures(made.written.replies, written, why, order.price_of(first))
    return found
