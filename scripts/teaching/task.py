"""What is asked of a teacher for one kind of data: a YAML file in tasks/, or one of your own."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from server.errors import InvalidValue

from ..recipe import Part, checked, mapping
from .schemas import complaint

FOLDER = Path(__file__).parent / "tasks"
FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


class Expected(Part):
    """What an answer has to be, and what of it the student learns."""

    json_schema: dict[str, Any] | None = None
    """Of the whole answer. A string "{field}" in it stands for that field of the input."""
    extract: str | None = None
    """A regular expression with named groups, found in a plain answer: its fields. The last match counts."""
    text: str | None = None
    """The student's answer, with {fields} of the teacher's; default: all of it."""
    turns: str | None = None
    """The field with a list of {"user", "assistant"}: the student learns the conversation."""
    label: str | None = None
    """The field that becomes the example's label."""
    vote: str | None = None
    """The field in which answers that agree are the same; default: the student's answer."""
    shortest: Annotated[int, Field(ge=0)] = 1
    """Characters of the student's answer."""
    longest: Annotated[int, Field(ge=1)] = 8000
    refusals: bool = True
    """Reject an answer that begins with a refusal."""
    found: dict[str, str] = Field(default_factory=dict)
    """Fields of the answer whose strings have to occur in a field of the input."""
    shorter_than: str | None = None
    """A field of the input that the answer has to be shorter than."""

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        wrong = "" if schema is None or list(placeholders(schema)) else complaint(schema)
        if wrong:
            raise ValueError(wrong)
        return schema

    @model_validator(mode="after")
    def _has_fields(self) -> "Expected":
        if self.json_schema is not None and self.extract is not None:
            raise ValueError("json_schema and extract exclude each other")
        try:
            groups = re.compile(self.extract or "").groupindex
        except re.error as error:
            raise ValueError(f"extract is no regular expression: {error}") from None
        known = {*(self.json_schema or {}).get("properties", {}), *groups}
        used = {*FIELD.findall(self.text or ""), *self.found, *filter(None, (self.turns, self.label, self.vote))}
        if used - known:
            raise ValueError(f"an answer has no field {', '.join(sorted(used - known))}")
        return self


class Told(Part):
    """What the student sees in place of what the teacher saw."""

    system: str | None = None
    user: str | None = None


class New(Part):
    """How new inputs are made after the pattern of others."""

    fields: Annotated[tuple[str, ...], Field(min_length=1)]
    """Written by the teacher; the rest are an example's."""
    about: str = ""
    """What they should be, in a sentence or two."""


class Task(Part):
    """Templates have {fields} of the input line; everything else in braces is text."""

    about: str = ""
    system: str = ""
    user: str
    answer: Expected = Expected()
    student: Told = Told()
    generate: New | None = None

    @property
    def fields(self) -> frozenset[str]:
        """What an input line has to have."""
        templates = (self.system, self.user, self.student.system or "", self.student.user or "")
        used = {name for template in templates for name in FIELD.findall(template)}
        used |= {*placeholders(self.answer.json_schema), *self.answer.found.values()}
        return frozenset(used | ({self.answer.shorter_than} if self.answer.shorter_than else set()))

    @model_validator(mode="after")
    def _agrees(self) -> "Task":
        if self.generate and not set(self.generate.fields) <= self.fields:
            raise ValueError("generate.fields names a field that the task does not use")
        return self


def find(task: str) -> tuple[str, Task]:
    """The name and the task. Raises InvalidValue that lists the known ones."""
    own = Path(task)
    path = own if own.suffix in {".yaml", ".yml"} else FOLDER / f"{task}.yaml"
    known = sorted(found.stem for found in FOLDER.glob("*.yaml"))
    if not path.is_file() or (path is not own and task not in known):
        raise InvalidValue(f"There is no task '{task}'. Known: {', '.join(known)}; or give the path of a YAML file.")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", path.stem):
        raise InvalidValue(f"The name of a task's file has letters, digits, - and _, and '{path.stem}' has others.")
    return path.stem, checked(Task, mapping(path), path)


def filled(template: str, fields: dict[str, Any]) -> str:
    """A template with its {fields}; a list is joined with commas."""
    return FIELD.sub(lambda match: shown(fields[match[1]]) if match[1] in fields else match[0], template)


def shown(value: Any) -> str:
    """A field as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def placeholders(schema: Any) -> Iterator[str]:
    """The fields that stand in a schema."""
    if isinstance(schema, str) and (match := FIELD.fullmatch(schema)):
        yield match[1]
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from placeholders(inner)


def replaced(schema: Any, fields: dict[str, Any]) -> Any:
    """A schema with the fields that stand in it."""
    if isinstance(schema, str):
        match = FIELD.fullmatch(schema)
        return fields[match[1]] if match and match[1] in fields else schema
    if isinstance(schema, dict):
        return {name: replaced(inner, fields) for name, inner in schema.items()}
    return [replaced(inner, fields) for inner in schema] if isinstance(schema, list) else schema
