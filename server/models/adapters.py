"""What models.yaml says about a LoRA adapter: which model it changes, and its file for each format of that."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..errors import ModelNotFound
from .names import Name

AdapterFormat = Literal["gguf", "onnx", "fake"]


class AdapterSpec(BaseModel):
    """A LoRA adapter of a model, asked for as `<model>+<adapter>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Name
    files: Annotated[dict[AdapterFormat, Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1)]
    """For the formats of the model that it can be used with: a GGUF file with a LoRA for `gguf`, an .onnx_adapter file
    for `onnx`; absolute, or relative to the models.yaml it stands in."""
    licence: Annotated[str, StringConstraints(min_length=1)] = "unknown"
    description: str = ""
    scale: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0
    """What its change of the weights is multiplied by."""


class AddedAdapter(AdapterSpec):
    """An adapter of a model that is described elsewhere."""

    model: Name
    """The name or an alias of the model."""


def named(adapters: Iterable[AdapterSpec], name: str, model: str) -> AdapterSpec:
    """The adapter of that name. Raises ModelNotFound, which lists the known ones."""
    known = {adapter.name: adapter for adapter in adapters}
    if name not in known:
        hint = f" Known adapters: {', '.join(known)}." if known else ""
        raise ModelNotFound(f"Model '{model}' has no adapter '{name}'.{hint}", param="model")
    return known[name]
