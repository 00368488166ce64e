"""Is a teacher's answer what was asked for, and what of it does the student learn?"""

import json
import re
from typing import Any

import msgspec

from ..examples import Role, Turn
from .journal import Reply
from .order import Order
from .prompts import Prompt
from .schemas import mismatch
from .task import Expected, Task, filled, shown

REFUSAL = re.compile(
    r"\W*(?:(?:I(?:'|\u2019)m|I am) (?:very |so )?(?:sorry|unable|not able)|sorry, (?:but )?I|as an AI\b"
    r"|I (?:cannot|can(?:'|\u2019)t|can not|won(?:'|\u2019)t|am not able to)"
    r" (?:help|assist|provide|fulfil|do that|comply|answer|continue|create|discuss))",
    re.IGNORECASE,
)
FENCE = "```"
PLAIN = Expected()
ROLES: tuple[Role, Role] = ("user", "assistant")


class Unusable(Exception):
    """An answer that the student must not see: the reason, by which they are counted, and what of it is wrong."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Usable(msgspec.Struct, frozen=True):
    """What the student learns, and the text in which answers that agree are the same."""

    turns: tuple[Turn, ...]
    vote: str
    label: str | None = None


def check(reply: Reply, prompt: Prompt, task: Task | None, order: Order) -> Usable:
    """Raises Unusable."""
    if reply.failed:
        raise Unusable(reply.failed)
    text, expected = reply.text, task.answer if task else PLAIN
    fields = _fields(text, prompt, expected)
    missing = [name for name in (expected.turns, expected.vote, expected.label) if name and name not in fields]
    if missing:
        raise Unusable("schema", f"$: it has no field {', '.join(missing)}")
    turns = _conversation(fields[expected.turns]) if expected.turns else ()
    answer = text.strip() if expected.text is None else filled(expected.text, fields).strip()
    if expected.text is None and expected.json_schema is not None:
        answer = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    said = turns[-1].content if turns else answer
    shortest, longest = max(order.shortest, expected.shortest), min(order.longest, expected.longest)
    if not said or len(answer) < shortest:
        raise Unusable("too short", f"{len(answer)} characters, and {shortest} are the least")
    if len(answer) > longest:
        raise Unusable("too long", f"{len(answer)} characters, and {longest} are the most")
    if (expected.refusals if order.refusals is None else order.refusals) and REFUSAL.match(said):
        raise Unusable("refusal", said[:80])
    _against_input(answer, fields, prompt, expected)
    vote = shown(fields[expected.vote]) if expected.vote else answer
    label = shown(fields[expected.label]) if expected.label else None
    if turns:
        system = tuple(turn for turn in prompt.student if turn.role == "system")
        return Usable((*system, *turns), same(vote), label)
    return Usable((*prompt.student, Turn("assistant", answer)), same(vote), label)


def same(text: str) -> str:
    """Equal for answers that agree: spaces, case, the full stop and the way a number is written make no difference."""
    plain = " ".join(text.casefold().split()).rstrip(".")
    try:
        return f"{float(plain.replace(',', '')):.12g}"
    except ValueError:
        return plain


def _fields(text: str, prompt: Prompt, expected: Expected) -> dict[str, Any]:
    """The fields of an answer: of its JSON, or what a pattern finds in it."""
    if prompt.schema is not None:
        return document(text, prompt.schema)
    if expected.extract is None:
        return {}
    matches = list(re.finditer(expected.extract, text))
    if not matches:
        raise Unusable("pattern", "the pattern of the task is not in the answer")
    return matches[-1].groupdict("")


def document(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON object that an answer is, alone or in a code fence. Raises Unusable."""
    try:
        document = msgspec.json.decode(_unfenced(text))  # unlike json's, without halves of characters
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unusable("no JSON", str(error)) from None
    except RecursionError:
        raise Unusable("no JSON", "it is nested too deeply") from None
    wrong = mismatch(schema, document)
    if wrong:
        raise Unusable("schema", wrong)
    if not isinstance(document, dict):
        raise Unusable("schema", "$: it is no object")
    return document


def _unfenced(text: str) -> str:
    """Without the code fence around all of it. A pattern takes the cube of the line breaks behind one that is open."""
    first, broken, rest = text.strip().partition("\n")
    fenced = broken and first.strip().casefold() in {FENCE, f"{FENCE}json"} and rest.endswith(FENCE)
    return rest.removesuffix(FENCE) if fenced else text


def _conversation(turns: Any) -> tuple[Turn, ...]:
    """Turns of a list of {"user", "assistant"}."""
    made: list[Turn] = []
    for turn in turns if isinstance(turns, list) else []:
        for role in ROLES:
            content = turn.get(role) if isinstance(turn, dict) else None
            if not isinstance(content, str) or not content.strip():
                raise Unusable("empty turn", f"the {role} says nothing in one")
            made.append(Turn(role, content.strip()))
    if not made:
        raise Unusable("empty turn", "there is no turn")
    return tuple(made)


def _against_input(answer: str, fields: dict[str, Any], prompt: Prompt, expected: Expected) -> None:
    """What was taken from the input has to be in it, and what shortens it has to be shorter."""
    for name, source in expected.found.items():
        value, place = fields.get(name), _plain(shown(prompt.fields[source]))
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and _plain(item) not in place:
                raise Unusable("not in the input", f"{name}: {item[:80]}")
    if expected.shorter_than and len(answer) >= len(shown(prompt.fields[expected.shorter_than])):
        raise Unusable("not shorter", f"{len(answer)} characters")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
