"""Input lines, and what a teacher is asked with each."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from server.errors import InvalidValue

from ..examples import Turn
from .schemas import complaint
from .task import Task, filled, replaced


class Prompt(msgspec.Struct, frozen=True):
    """One input: what the teacher sees, what the student will, and the JSON schema of the answer."""

    id: str
    fields: dict[str, Any]
    messages: tuple[Turn, ...]
    student: tuple[Turn, ...]
    schema: dict[str, Any] | None = None


def read_fields(path: Path, task: Task | None) -> list[dict[str, Any]]:
    """The lines of a file, each once, with what the task needs. Raises InvalidValue with the number of a bad line."""
    if not path.is_file():
        raise InvalidValue(f"There is no file {path}.")
    found: dict[bytes, dict[str, Any]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise InvalidValue(f"{path}, line {number} is no JSON: {error}.") from None
        complaint = _wrong(fields, task)
        if complaint:
            raise InvalidValue(f"{path}, line {number}: {complaint}.")
        found[msgspec.json.encode(fields, order="deterministic")] = fields
    if not found:
        raise InvalidValue(f"{path} holds no prompt.")
    return list(found.values())


def prompts_of(lines: list[dict[str, Any]], task: Task | None) -> list[Prompt]:
    """Each prompt once. Raises InvalidValue for a line whose fields make no JSON schema."""
    made = {prompt.id: prompt for prompt in (_prompt(fields, task) for fields in lines)}
    return list(made.values())


def _wrong(fields: Any, task: Task | None) -> str:
    """What is wrong with a line, in words."""
    if not isinstance(fields, dict):
        return "it is no JSON object"
    if task is not None:
        for name in sorted(task.fields):
            if name not in fields:
                return f"the task needs a field '{name}', and the line has {', '.join(fields) or 'none'}"
            if not _usable(fields[name]):
                return f"the field '{name}' has to be a text, a number or a list of texts, and not empty"
        return ""
    if "prompt" in fields:
        good = isinstance(fields["prompt"], str) and fields["prompt"].strip()
        return "" if good else "the prompt has to be a text, and not empty"
    try:
        turns = msgspec.convert(fields.get("messages"), tuple[Turn, ...])
    except msgspec.ValidationError:
        return 'it needs "prompt", or "messages" with "role" and "content"; or name a task with --task'
    return "" if turns and turns[-1].role == "user" else "the last message has to be the user's"


def _usable(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) and item.strip() for item in value)
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int | float)


def _prompt(fields: dict[str, Any], task: Task | None) -> Prompt:
    if task is None:
        turns = (Turn("user", fields["prompt"]),) if "prompt" in fields else _turns(fields["messages"])
        return Prompt(digest(turns, None)[:16], fields, turns, turns)
    messages = _filled(task.system, task.user, fields)
    told = task.student
    student = _filled(
        task.system if told.system is None else told.system, task.user if told.user is None else told.user, fields
    )
    schema = replaced(task.answer.json_schema, fields)
    wrong = complaint(schema) if schema is not None and schema != task.answer.json_schema else ""
    if wrong:
        raise InvalidValue(f"The fields {fields} make no JSON schema: {wrong}.")
    return Prompt(digest(messages, student, schema)[:16], fields, messages, student, schema)


def _filled(system: str, user: str, fields: dict[str, Any]) -> tuple[Turn, ...]:
    asked = Turn("user", filled(user, fields).strip())
    return (Turn("system", filled(system, fields).strip()), asked) if system.strip() else (asked,)


def _turns(messages: Any) -> tuple[Turn, ...]:
    return msgspec.convert(messages, tuple[Turn, ...])


def digest(*parts: Any) -> str:
    """The same for the same content, in every run."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
