"""Foundry Local's wire: camelCase in the older service, whose clients refuse a list with one wrong row."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Id = Annotated[str, StringConstraints(min_length=1, max_length=400)]


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Runtime(_Camel):
    """What a row runs on."""

    device_type: Literal["NPU", "GPU", "CPU"]
    execution_provider: str


class Row(_Camel):
    """A model on one kind of device. `name` is what clients call its id.

    `promptTemplate` is empty: prompts are written here, with the model's own template. `fileSizeMb` is of the files
    that are here or would be pulled; of what is made here an estimate.
    """

    name: str
    display_name: str
    alias: str
    version: str
    provider_type: str
    publisher: str
    uri: str
    parent_model_uri: str
    model_type: str
    task: str
    runtime: Runtime
    file_size_mb: int
    license: str
    license_description: str
    prompt_template: dict[str, str]
    model_settings: dict[str, list[Any]]
    supports_tool_calling: bool
    max_output_tokens: int | None


class LegacyStatus(_Camel):
    """Where the service is and where it keeps models."""

    endpoints: list[str]
    model_dir_path: str
    pipe_name: str


class WebStatus(_Camel):
    """The same in the newer words."""

    endpoints: list[str]
    model_cache_path: str
    pid: int


class WantedModel(BaseModel):
    """The model of a download. What else clients send about it they took from the list, where it still stands."""

    name: Annotated[Id, Field(alias="Name")]


class DownloadRequest(BaseModel):
    """A download. A token is not taken from here: CUPOLA_HF_TOKEN holds that of this device."""

    model: WantedModel


class Upgradable(BaseModel):
    upgradable: bool


class TokenCount(_Camel):
    token_count: int


class State(BaseModel):
    """What became of a request to load or unload."""

    status: Literal["loaded", "already_loaded", "unloaded", "not_loaded"]
