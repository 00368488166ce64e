"""What teachers are asked for, checked before anything is sent."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..api_key import read_key
from ..chat_client import is_address
from ..recipe import Part, checked, mapping, merged

OWN = "own"
Price = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]],
    Field(description="of a million tokens of a prompt, and of an answer"),
]
GRADING = """\
Grade how well the answer does what the request asks: 1 is wrong or useless, 3 is partly right, 5 is right, complete and clear.

Request:
{request}

Answer:
{answer}

Give a short reason, then the grade from 1 to 5."""  # noqa: E501  # one sentence a line


class Teacher(Part):
    """An OpenAI-compatible server and a model of it; `own#MODEL` is a server of ours that is started for it."""

    at: str
    price: Price | None = None
    api_key_file: Path | None = None
    """Its content is sent as the bearer token, to this teacher alone."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return {"at": given} if isinstance(given, str) else given

    @field_validator("at")
    @classmethod
    def _names(cls, at: str) -> str:
        url = at.partition("#")[0]
        if not re.fullmatch(rf"(https?://[^#\s]+|{OWN})#[^#\s]+", at) or not (url == OWN or is_address(url)):
            raise ValueError(f"'{at}' names no teacher; write http://127.0.0.1:5272/v1#smollm2, or own#smollm2")
        return at

    @property
    def url(self) -> str:
        return self.at.partition("#")[0].rstrip("/")

    @property
    def model(self) -> str:
        return self.at.partition("#")[2]


class Judge(Part):
    """A teacher grades what was elected, from 1 to 5, at temperature 0."""

    teacher: Teacher | None = None
    """Default: the first teacher."""
    threshold: Annotated[int, Field(ge=1, le=5)] = 4
    """The lowest grade that is kept."""
    prompt: str = GRADING
    """With {request} and {answer}."""

    @field_validator("prompt")
    @classmethod
    def _shows(cls, prompt: str) -> str:
        if "{request}" not in prompt or "{answer}" not in prompt:
            raise ValueError("it has to show {request} and {answer}")
        return prompt


class Order(Part):
    """Prompts, teachers and what their answers have to be. A YAML file can hold it."""

    prompts: Path
    task: str | None = None
    """A name in scripts/teaching/tasks, or the path of a YAML file; without it, lines are prompts or messages."""
    teachers: Annotated[tuple[Teacher, ...], Field(min_length=1)] = (Teacher(at=f"{OWN}#smollm2"),)
    samples: Annotated[int, Field(ge=1)] = 1
    keep: Literal["vote", "all"] = "vote"
    """The most common good answer of a prompt, or all that differ."""
    agreement: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of a prompt's samples that the kept answer needs."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int, Field(ge=1)] = 256
    concurrency: Annotated[int, Field(ge=1)] = 4
    deadline: Annotated[float, Field(gt=0)] = 120
    """Seconds for one request."""
    retries: Annotated[int, Field(ge=0)] = 5
    first_wait: Annotated[float, Field(gt=0)] = 0.5
    """Seconds before the first retry, at most; they double."""
    shortest: Annotated[int, Field(ge=0)] = 1
    """Characters of an answer."""
    longest: Annotated[int, Field(ge=1)] = 8000
    refusals: bool | None = None
    """Reject answers that begin with a refusal; default: as the task says, and yes without one."""
    structured: bool = True
    """Send the task's JSON schema, for the server to enforce. It is checked here in any case."""
    judge: Judge | None = None
    price: Price | None = None
    """Of teachers that name none."""
    api_key_file: Path | None = None
    """For teachers that name none, if they have one address."""
    generate: Annotated[int, Field(ge=0)] = 0
    """New inputs that the first teacher writes after the pattern of the prompts, before they are answered."""
    new_at_once: Annotated[int, Field(ge=1, le=100)] = 5
    """New inputs asked for in one request."""
    new_temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    likeness: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Jaccard similarity of character 4-grams from which a new input is a near-duplicate."""

    @model_validator(mode="after")
    def _agrees(self) -> "Order":
        names = [teacher.at for teacher in self.teachers]
        if len(set(names)) < len(names):
            raise ValueError("a teacher is named twice; for several answers of one, set samples")
        if self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is more than longest {self.longest}")
        if self.api_key_file and len({teacher.url for teacher in self.teachers if not teacher.api_key_file}) > 1:
            raise ValueError("a key belongs to one server; give each teacher its own api_key_file")
        return self

    def price_of(self, teacher: Teacher) -> Price | None:
        return teacher.price or self.price

    def headers(self, teacher: Teacher) -> dict[str, str]:
        """Who we are to a teacher. Raises InvalidValue."""
        path = teacher.api_key_file or (self.api_key_file if teacher in self.teachers else None)
        if path is None:
            return {}
        return {"authorization": f"Bearer {read_key(path)}"}


def load(path: Path | None, changes: dict[str, Any]) -> Order:
    """The order of a YAML file, with changes by field. Relative paths are from the file. Raises InvalidValue."""
    fields = mapping(path) if path else {}
    if path:
        for owner in _owners(fields):
            for name in ("prompts", "task", "api_key_file"):
                given = owner.get(name)
                if isinstance(given, str) and (path.parent / given).exists():
                    owner[name] = str((path.parent / given).resolve())
    return checked(Order, merged(fields, changes), path or Path("The options"))


def _owners(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The order, its teachers and its judge's, as far as they are mappings."""
    teachers, judge = fields.get("teachers"), fields.get("judge")
    found = [fields, *(teachers if isinstance(teachers, list) else [])]
    found += [judge.get("teacher")] if isinstance(judge, dict) else []
    return [owner for owner in found if isinstance(owner, dict)]
