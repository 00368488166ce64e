"""What is asked of an evaluation."""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidValue

from ..api_key import read_key
from ..chat_client import is_address

Kind = Literal["served", "artifact", "checkpoint"]


class Order(BaseModel):
    """The first target is the teacher or the base: the one that the others are compared with.

    A target is URL#MODEL of a server that runs already (served); a GGUF file, an ONNX folder or the name of a model
    here, for which a server is started (artifact); or a folder with safetensors, an adapter, or CHECKPOINT+ADAPTER,
    which PyTorch runs in a process of its own (checkpoint).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    targets: tuple[str, ...] = Field(min_length=1)
    data: Path = Field(description="a data folder, whose test.jsonl is asked, or a file of examples")
    metrics: tuple[str, ...] = Field(("exact", "exact_spaces", "exact_json", "json_valid"), description="by name")
    field: str | None = Field(None, description="classes are this field of answers that are JSON; else whole answers")
    schema_file: Path | None = Field(None, description="JSON Schema that answers are checked against")
    json_mode: bool = Field(False, description="servers hold answers to JSON, and to the schema where there is one")
    api_key_file: Path | None = Field(None, description="its content is sent to served targets as the bearer token")
    out: Path | None = Field(None, description="where answers are kept and the report is written")
    max_tokens: int = Field(default=128, ge=1)
    concurrency: int = Field(default=4, ge=1, description="requests at the same time, where time is not measured")
    batch: int = Field(default=8, ge=1, description="prompts at the same time in PyTorch, likewise")
    timed: int = Field(default=20, ge=0, description="examples that are asked one by one, for their time")
    tasks: tuple[str, ...] = Field((), description="of lm-evaluation-harness, asked of served targets and artifacts")
    tasks_dir: Path | None = Field(None, description="the folder with the tasks' YAML files")
    limit: int | None = Field(None, ge=1, description="only the first so many examples")
    deadline: float = Field(default=300, gt=0, description="seconds for one request")
    startup: float = Field(default=60, gt=0, description="seconds for a server of our own to start in")
    seed: int = Field(default=0, ge=0, description="of the bootstrap")
    resamples: int = Field(default=2000, ge=100, description="of the bootstrap")

    def kind(self, target: str) -> Kind:
        """What a target is, by its look and by what is in its folder."""
        if re.match(r"[a-z]+://", target, re.IGNORECASE):
            return "served"
        names = (target, *target.rpartition("+")[::2])
        return "checkpoint" if any(_has_weights(name) for name in names if name) else "artifact"

    def check(self) -> None:
        """What can be wrong before anything is started. Raises InvalidValue."""
        if len(set(self.targets)) < len(self.targets):
            raise InvalidValue("A target is named twice.")
        served = [target for target in self.targets if self.kind(target) == "served"]
        for target in served:
            url, _, model = target.partition("#")
            if re.search(r"\s", url) or not is_address(url):
                raise InvalidValue(f"'{target}' has no address in it; write http://HOST:PORT/v1#MODEL.")
            if not model:
                raise InvalidValue(f"'{target}' names no model; write http://HOST:PORT/v1#MODEL.")
        if self.api_key_file is not None:
            if not self.api_key_file.is_file():
                raise InvalidValue(f"There is no file {self.api_key_file}.")
            if len({httpx.URL(target.partition("#")[0]).netloc for target in served}) > 1:
                raise InvalidValue("A key belongs to one server; name targets of one address with --api-key-file.")

    def identity(self, target: str, content: str = "") -> str:
        """Of all that decides what a target answers, but for the questions; `content` tells one state of its files."""
        parts = [target, content, self.max_tokens, self.json_mode, self._schema_text() if self.json_mode else ""]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def headers(self) -> dict[str, str]:
        if self.api_key_file is None:
            return {}
        return {"authorization": f"Bearer {read_key(self.api_key_file)}"}

    def schema_document(self) -> Any:
        """The JSON Schema, or None. Raises InvalidValue."""
        if self.schema_file is None:
            return None
        from .metrics import checked_schema

        return checked_schema(self._schema_text(), self.schema_file)

    def _schema_text(self) -> str:
        if self.schema_file is None:
            return ""
        if not self.schema_file.is_file():
            raise InvalidValue(f"There is no file {self.schema_file}.")
        return self.schema_file.read_text("utf-8")


def _has_weights(name: str) -> bool:
    folder = Path(name).expanduser()
    return folder.is_dir() and any(folder.glob("*.safetensors"))
