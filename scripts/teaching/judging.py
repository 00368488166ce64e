"""A teacher grades what the others said."""

import re

import msgspec

from .answers import Unusable, document
from .asking import Asking
from .client import Question
from .journal import Reply
from .order import Judge, Order
from .voting import Vote, rejections

MAX_TOKENS = 256
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "minLength": 1, "maxLength": 300},
        "grade": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    },
    "required": ["reason", "grade"],
    "additionalProperties": False,
}
OUT_OF = re.compile(r"\s*(?:/|out of)\s*5\b")
LAST_GRADE = re.compile(r".*(?<![\d.])([1-5])(?![\d.]*\d)", re.DOTALL)


class Judged(msgspec.Struct, frozen=True):
    """Votes with what passed, the grades by the key of the graded reply, and what the judge said."""

    votes: list[Vote]
    grades: dict[str, int]
    replies: list[Reply]


def judged(votes: list[Vote], judge: Judge, order: Order, asking: Asking) -> Judged:
    """Everything chosen is graded; where one answer is to be kept, the best is. Raises CupolaError."""
    asked = [(vote, at, _question(vote, at, judge, order)) for vote in votes for at in range(len(vote.chosen))]
    replies = asking.all([question for _, _, question in asked], "grading")
    grades: dict[str, int] = {}
    reasons: dict[str, tuple[str, str]] = {}
    for (vote, at, _), reply in zip(asked, replies, strict=True):
        key = vote.chosen[at].key
        grade = None if reply.failed else grade_of(reply.text)
        if reply.failed:
            reasons[key] = (f"judge: {reply.failed}", "")
        elif grade is None:
            reasons[key] = ("judge gave no grade", reply.text[:200])
        else:
            grades[key] = grade
            if grade < judge.threshold:
                reasons[key] = ("low grade", reply.text[:400])
    return Judged([_settled(vote, grades, reasons, order) for vote in votes], grades, replies)


def grade_of(text: str) -> int | None:
    """The grade in what a judge said: of its JSON, or the last one that stands there."""
    try:
        return int(document(text, SCHEMA)["grade"])
    except Unusable:
        found = LAST_GRADE.match(OUT_OF.sub("", text))
        return int(found[1]) if found else None


def _settled(vote: Vote, grades: dict[str, int], reasons: dict[str, tuple[str, str]], order: Order) -> Vote:
    passed = [party for party in vote.chosen if party.key not in reasons]
    lost = list(vote.rejected)
    for party in vote.chosen:
        if party.key in reasons:
            lost += rejections(vote.prompt, party.replies, *reasons[party.key])
    if order.keep == "vote" and len(passed) > 1:
        best = max(passed, key=lambda party: grades[party.key])
        for party in passed:
            lost += rejections(vote.prompt, party.replies, "another was graded higher") if party is not best else []
        passed = [best]
    return Vote(vote.prompt, passed, lost)


def _question(vote: Vote, at: int, judge: Judge, order: Order) -> Question:
    request = "\n\n".join(turn.content for turn in vote.prompt.messages)
    parts = {"{request}": request, "{answer}": vote.chosen[at].replies[0].text}
    said = re.sub(r"\{request\}|\{answer\}", lambda match: parts[match[0]], judge.prompt)
    teacher = judge.teacher or order.teachers[0]
    schema = SCHEMA if order.structured else None
    return Question(teacher, ({"role": "user", "content": said},), 0, 0.0, MAX_TOKENS, schema, "grade")
