"""New inputs after the pattern of some: a teacher sees a few and writes more (Wang et al. 2023, Self-Instruct)."""

import random
from typing import Any

import msgspec

from server.errors import CupolaError, InvalidValue

from ..reporting import Reporter
from .answers import Unusable, document
from .asking import Asking
from .client import Question
from .journal import Reply
from .likeness import Known
from .order import Order
from .task import New, Task, shown

WAVE = 4  # requests at once; what one wave wrote, the next shows. Not the concurrency: a resumed run may have another
SHOWN = 5  # examples in a request
LOOSE = {"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array"}}}
BARREN = 5  # waves without anything new after which the teacher has no more to say
PLAIN = New(fields=("prompt",))
REQUEST = """\
Here are examples of inputs for a task, one JSON object a line:

{examples}

{about}Write {number} new inputs like these. Each differs from the examples and from the others in its subject, its \
words and its form. Answer with JSON: {{"inputs": [...]}}."""


class Written(msgspec.Struct, frozen=True):
    """New lines, the replies they come from, and why others were left out, by reason."""

    lines: list[dict[str, Any]]
    replies: list[Reply]
    rejected: list[tuple[Reply, str, str]]


def write_inputs(
    seeds: list[dict[str, Any]], task: Task | None, order: Order, asking: Asking, reporter: Reporter
) -> Written:
    """`order.generate` new lines, or fewer when the teacher repeats itself. Raises CupolaError, InvalidValue.

    What is asked depends on the seeds and on earlier answers alone, so a killed run repeats itself from the journal.
    """
    new = (task.generate if task else PLAIN) or PLAIN
    if any(name not in line for line in seeds for name in new.fields):
        raise InvalidValue(f"New inputs need seeds with {', '.join(new.fields)}, and a task that names them.")
    known, pool = Known(order.likeness), list(seeds)
    for line in seeds:
        known.add(_text(line, new))
    made = Written([], [], [])
    wave = barren = 0
    while len(made.lines) < order.generate and barren < BARREN:
        kept = [_kept(pool, new, random.Random(f"{wave} {number}")) for number in range(WAVE)]  # noqa: S311
        questions = [_question(shown_, new, order, wave * WAVE + number) for number, shown_ in enumerate(kept)]
        fresh: list[dict[str, Any]] = []
        for examples, reply in zip(kept, asking.all(questions, "writing inputs"), strict=True):
            if reply.unanswered:
                raise CupolaError(f"{reply.teacher} wrote no inputs: {reply.failed}. Run it again to go on.")
            made.replies.append(reply)
            fresh += _fresh(reply, examples[0], new, known, made)
        fresh = fresh[: order.generate - len(made.lines)]
        made.lines.extend(fresh)
        pool += fresh
        wave, barren = wave + 1, 0 if fresh else barren + 1
    if len(made.lines) < order.generate:
        reporter.say(f"{len(made.lines)} of {order.generate} new inputs: the teacher wrote nothing new any more.")
    return made


def _kept(pool: list[dict[str, Any]], new: New, source: random.Random) -> list[dict[str, Any]]:
    """Examples to show, all with the same value in the fields that are not written anew."""
    first = source.choice(pool)
    alike = [line for line in pool if line is not first and _fixed(line, new) == _fixed(first, new)]
    return [first, *source.sample(alike, min(SHOWN - 1, len(alike)))]


def _fixed(line: dict[str, Any], new: New) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in new.fields}


def _question(examples: list[dict[str, Any]], new: New, order: Order, seed: int) -> Question:
    lines = "\n".join(msgspec.json.encode({name: line[name] for name in new.fields}).decode() for line in examples)
    fixed = "".join(f"{name}: {shown(value)}\n" for name, value in _fixed(examples[0], new).items())
    about = "\n".join(part for part in (fixed, new.about) if part)
    request = REQUEST.format(examples=lines, number=order.new_at_once, about=f"{about}\n\n" if about else "")
    schema = schema_of(new, order)
    return Question(
        order.teachers[0],
        ({"role": "user", "content": request},),
        seed,
        order.new_temperature,
        order.max_tokens * order.new_at_once,
        schema if order.structured else None,
        "inputs",
    )


def schema_of(new: New, order: Order) -> dict[str, Any]:
    """Of the teacher's answer."""
    item = {
        "type": "object",
        "properties": {name: {"type": "string", "minLength": 1} for name in new.fields},
        "required": list(new.fields),
        "additionalProperties": False,
    }
    inputs = {"type": "array", "minItems": 1, "maxItems": order.new_at_once, "items": item}
    return {"type": "object", "properties": {"inputs": inputs}, "required": ["inputs"], "additionalProperties": False}


def _fresh(reply: Reply, example: dict[str, Any], new: New, known: Known, made: Written) -> list[dict[str, Any]]:
    """The lines of a reply that are whole and unlike all others; the rest is noted as rejected."""
    if reply.failed:
        made.rejected.append((reply, reply.failed, ""))
        return []
    try:
        items = document(reply.text, LOOSE)["inputs"]
    except Unusable as wrong:
        made.rejected.append((reply, f"input: {wrong.reason}", wrong.detail))
        return []
    fresh = []
    for item in items:
        if not isinstance(item, dict) or not all(_text_of(item.get(name)) for name in new.fields):
            made.rejected.append((reply, "input: schema", str(item)[:200]))
            continue
        line = _fixed(example, new) | {name: item[name].strip() for name in new.fields}
        if known.add(_text(line, new)):
            fresh.append(line)
        else:
            made.rejected.append((reply, "input: near-duplicate", _text(line, new)[:200]))
    return fresh


def _text_of(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _text(line: dict[str, Any], new: New) -> str:
    return " ".join(shown(line[name]) for name in new.fields)
