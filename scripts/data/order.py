"""What is asked of a preparation, checked before anything is read. A recipe in YAML can hold it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from ..chat_client import is_address
from ..recipe import Part


class Shares(Part):
    """Of the examples, by weight; those of a split that is given go to train."""

    train: Annotated[float, Field(gt=0)] = 80
    validation: Annotated[float, Field(ge=0)] = 10
    test: Annotated[float, Field(ge=0)] = 10


class Paraphrase(Part):
    """Who writes the last question of each training example anew, and how often."""

    url: str
    """Of an OpenAI-compatible server: http://127.0.0.1:8000/v1"""
    model: str
    count: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    max_tokens: Annotated[int, Field(ge=1)] = 256
    concurrency: Annotated[int, Field(ge=1)] = 4
    deadline: Annotated[float, Field(gt=0)] = 120
    """Seconds for one request."""

    @field_validator("url")
    @classmethod
    def _is_one(cls, url: str) -> str:
        if not is_address(url):
            raise ValueError(f"'{url}' is no URL; write http://HOST:PORT/v1")
        return url


class Order(Part):
    """`sources` are divided; `validation` and `test` are splits that are there already, and stay as they are."""

    sources: Annotated[tuple[Path, ...], Field(min_length=1)]
    validation: Path | None = None
    test: Path | None = None
    input: str | None = None
    """The field with the question."""
    output: str | None = None
    """The field with the answer."""
    template: str | None = None
    """The question, with fields in braces; without an output, a plain text."""
    system: str | None = None
    """A first message for conversations that have none of the system."""
    label: str | None = None
    """The field with the class that splits keep even; default: `label`, where there is one."""
    group: str | None = None
    """A field: examples with one value of it stay in one split."""
    near: Annotated[float | None, Field(gt=0, le=1)] = 0.85
    """Jaccard similarity from which examples are near-duplicates; null: only exact ones are."""
    tokenizer: str | None = None
    """A checkpoint whose tokenizer and chat template count the lengths; without, they are in characters."""
    context: Annotated[int | None, Field(ge=8)] = None
    """Tokens of an example at most; default: the checkpoint's context."""
    most_bad: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of bad lines above which nothing is written."""
    redact: bool = False
    """Whether personal data is replaced: [EMAIL]. It is counted in any case."""
    shares: Shares = Shares()
    paraphrase: Paraphrase | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0

    @model_validator(mode="after")
    def _agrees(self) -> "Order":
        if self.context is not None and self.tokenizer is None:
            raise ValueError("a context counts tokens: name the checkpoint whose tokenizer counts them (--tokenizer)")
        files = [path.resolve() for path in (*self.sources, self.validation, self.test) if path]
        if len(set(files)) < len(files):
            raise ValueError("a file is named twice among sources, validation and test")
        return self
