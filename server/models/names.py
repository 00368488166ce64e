"""How a model is asked for, everywhere a name is taken: `name[:version][@engine][+adapter]`."""

import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import StringConstraints

from ..errors import ModelNotFound

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=96)]

CURRENT_VERSION = "1"
_GRAMMAR = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]*)"
    r"(?::(?P<version>[a-z0-9][a-z0-9._-]*))?"
    r"(?:@(?P<engine>[a-z0-9][a-z0-9._-]*))?"
    r"(?:\+(?P<adapter>[a-z0-9][a-z0-9._-]*))?"
)


@dataclass(frozen=True)
class ModelName:
    """A parsed name. `engine` is a backend (`llama`, `onnx`) or a variant's own name (`gguf-q4_1`)."""

    name: str
    version: str = "latest"
    engine: str | None = None
    adapter: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ModelNotFound for text that is no name, and for a version that does not exist. Case is ignored."""
        found = _GRAMMAR.fullmatch(text.strip().lower())
        if found is None:
            raise ModelNotFound(
                f"'{text[:100]}' is not a model name; write name[:version][@engine][+adapter].", param="model"
            )
        version = found["version"] or "latest"
        if version not in {"latest", CURRENT_VERSION}:
            raise ModelNotFound(
                f"Model '{found['name']}' has no version '{version}'; ask for '{found['name']}:latest'.", param="model"
            )
        return cls(found["name"], "latest", found["engine"], found["adapter"])

    def __str__(self) -> str:
        version = "" if self.version == "latest" else f":{self.version}"
        engine = f"@{self.engine}" if self.engine else ""
        return f"{self.name}{version}{engine}{f'+{self.adapter}' if self.adapter else ''}"
