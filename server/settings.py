"""Configuration: one frozen value, made once. It reads the environment, as environment.py alone does beside it.

Defaults give way to config.yaml, that to the environment, and that to flags. Every field is set by `CUPOLA_<NAME>`;
what Hugging Face's own tools name (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`) keeps its name. A bad value stops the
start and is named.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from . import settings_file
from .address import reached, url_of
from .errors import ConfigError
from .quantities import Bytes, Seconds, WholeSeconds
from .settings_file import Entry

LEAST_KEY = 16  # characters of a key that people choose themselves; shorter ones are guessed


def _listed(value: object) -> object:
    """The parts of text with commas, as the environment has it."""
    return tuple(part for item in value.split(",") if (part := item.strip())) if isinstance(value, str) else value


def _sendable(value: object) -> object:
    """A key as a header can carry it. An empty one is a mistake, and does not mean that the server is open."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and not (len(text) >= LEAST_KEY and all("!" <= character <= "~" for character in text)):
        raise ValueError(
            f"a key has at least {LEAST_KEY} characters of ASCII and no spaces; cupola key create makes one"
        )
    return value


def _unless_empty(value: object) -> object:
    """An empty variable is how compose files spell one that is not set."""
    return value or None


def _host_names(values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(value.lower().rstrip(".") for value in values)
    if wrong := next((name for name in names if not _HOST_NAME.fullmatch(name)), None):
        raise ValueError(f"{wrong[:100]!r} is not a host's name; write it without scheme, port or *")
    return names


def _keep_alive(value: float) -> float:
    if value < 0 and value != -1:
        raise ValueError("is negative; -1 means for ever")
    return value


_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*")
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """Where Cupola keeps its files, what it listens on and how it sizes an engine."""

    model_config = SettingsConfigDict(env_prefix="CUPOLA_", frozen=True, extra="forbid", populate_by_name=True)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("cupola")),
        description="models, downloads and the models.yaml overlay live here",
    )
    config: Annotated[Path | None, BeforeValidator(_unless_empty)] = Field(
        default=None, description="file of settings; default: config.yaml in CUPOLA_HOME"
    )
    host: str = Field("127.0.0.1", description="address to listen on; beyond loopback only with an API key")
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 lets the system choose")] = 5272
    hosts: Annotated[Listed, AfterValidator(_host_names)] = Field(
        (), description="further names that the Host header may have, as a proxy or a network sends"
    )
    api_key: Annotated[SecretStr, BeforeValidator(_sendable)] | None = Field(
        default=None, description="a key that may do everything; cupola key makes more, with less"
    )
    keys_file: Path | None = Field(
        default=None, description="file of cupola key; default: keys.json in CUPOLA_HOME, where there is one"
    )
    offline: bool = Field(
        default=False,
        validation_alias=AliasChoices("CUPOLA_OFFLINE", "HF_HUB_OFFLINE"),
        description="never open an outbound connection",
    )
    hf_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias=AliasChoices("CUPOLA_HF_ENDPOINT", "HF_ENDPOINT"),
        description="address of the Hugging Face hub or a mirror",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CUPOLA_HF_TOKEN", "HF_TOKEN"),
        description="token for gated repositories; sent to the hub only",
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="threads of an engine; default: the physical cores this process may use"
    )
    slots: Annotated[int, Field(ge=1, le=256, description="sequences a model decodes at once")] = 8
    context: Annotated[
        int, Field(ge=64, description="most tokens a sequence may have; a model's own limit may be lower")
    ] = 4096
    prefill_ms: Annotated[float, Field(gt=0)] = Field(
        40.0,
        description="time a step may give to prompts while other sequences are decoding, in milliseconds",
    )
    max_models: Annotated[int, Field(ge=1, description="models kept loaded at once, whatever memory they take")] = 16
    keep_alive: Annotated[Seconds, AfterValidator(_keep_alive)] = Field(
        300.0, description="seconds after its last use at which a model is unloaded; -1: never"
    )
    keep_cache: Annotated[Seconds, Field(ge=0, description="seconds after which its KV memory is given back")] = 60.0
    memory: Annotated[Bytes, Field(ge=1)] | None = Field(
        default=None, description="bytes that all models may take; default: 90 % of what this machine or cgroup has"
    )
    pinned: Listed = Field((), description="models that are never unloaded to make room, or for being idle")
    preload: Listed = Field((), description="models that serve loads when it starts")
    room_seconds: Annotated[
        Seconds, Field(ge=0, description="seconds that a load waits while every loaded model is in use")
    ] = 20.0
    max_queue: Annotated[int, Field(ge=1, description="requests that may wait for one model; more get 429")] = 256
    max_body_bytes: Annotated[Bytes, Field(ge=1024, description="largest request body")] = 4 * 1024 * 1024
    request_seconds: Annotated[Seconds, Field(gt=0, description="time in which a request must have arrived whole")] = (
        30.0
    )
    stall_seconds: Annotated[Seconds, Field(gt=0, description="time a client may leave its answer unread")] = 30.0
    stored_responses: Annotated[int, Field(ge=1, description="responses kept for later requests; the oldest go")] = 1000
    stored_response_bytes: Annotated[Bytes, Field(ge=1024, description="most bytes of JSON that those may take")] = (
        2**26
    )
    background_responses: Annotated[int, Field(ge=1, description="background responses made at once")] = 64
    require_signature: Path | None = Field(
        default=None, description="public key (PEM); a model that is not signed with its private key is not loaded"
    )
    load_timeout: Annotated[Seconds, Field(gt=0, description="seconds a model may take to load")] = 600.0
    template_seconds: Annotated[Seconds, Field(gt=0, description="deadline of one chat template")] = 1.2
    powercap: Path = Field(Path("/sys/class/powercap"), description="where Linux tells the energy of the processors")
    otlp_endpoint: str | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP) that metrics and traces are sent to"
    )
    otlp_prompts: bool = Field(default=False, description="put prompts and answers into traces")
    shutdown_seconds: Annotated[WholeSeconds, Field(ge=0, description="grace for running streams at shutdown")] = 30
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="verbosity of the log")
    log_format: Literal["auto", "pretty", "json"] = Field(
        "auto", description="lines for people or JSON for programs; auto: for people on a terminal"
    )
    log_prompts: bool = Field(default=False, description="write prompts into the log, 2,000 characters of each")
    slow_seconds: Annotated[Seconds, Field(gt=0, description="a request that takes longer is a warning in the log")] = (
        30.0
    )

    @property
    def url(self) -> str:
        """Where the server of these settings is reached from this machine."""
        return url_of(reached(self.host), self.port)

    @property
    def overlay(self) -> Path:
        """The user's own models.yaml."""
        return self.home / "models.yaml"

    @property
    def keys_path(self) -> Path:
        """Where `cupola key` keeps the hashes of keys."""
        return self.keys_file or self.home / "keys.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a setting came from. `place` is a file and its line, a variable or a flag."""

    kind: Literal["default", "file", "environment", "flag"]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Effective:
    settings: Settings
    origins: Mapping[str, Origin]


def load_settings(**overrides: Any) -> Settings:
    """Settings from config.yaml and the environment, with command-line values (None: not given) on top.

    Raises ConfigError that names each wrong field, and for a CUPOLA_ variable or a key that does not exist.
    """
    return read_settings(**overrides).settings


def read_settings(**overrides: Any) -> Effective:
    """The same, with where each value came from."""
    flags = {name: value for name, value in overrides.items() if value is not None}
    variables = _variables()
    path, asked_for = _config_file(flags, variables)
    entries = settings_file.read_file(path, Settings.model_fields, needed=asked_for)
    _require_placed(path, entries, asked_for=asked_for)
    chosen = {name: entry for name, entry in entries.items() if name not in variables and name not in flags}
    origins = (
        dict.fromkeys(Settings.model_fields, Origin("default"))
        | {name: Origin("file", f"{path}, line {entry.line}") for name, entry in chosen.items()}
        | {name: Origin("environment", variable) for name, variable in variables.items()}
        | {name: Origin("flag", f"--{name.replace('_', '-')}") for name in flags}
    )
    try:
        settings = Settings(**{name: entry.value for name, entry in chosen.items()} | flags)
    except ValidationError as error:
        wrong = "; ".join(_described(origins, failure) for failure in error.errors())
        raise ConfigError(f"Bad setting: {wrong}") from None
    return Effective(settings, origins)


def _variables() -> dict[str, str]:
    """The variable that sets a field, for each that is set. Raises ConfigError for one of ours that does not exist."""
    present = {name.upper(): name for name in os.environ}  # noqa: TID251
    found = {name: present[way] for name, ways in _ways().items() for way in reversed(ways) if way in present}
    known = {f"CUPOLA_{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith("CUPOLA_") and name not in known)  # noqa: TID251
    if unknown:
        raise ConfigError(f"Unknown setting {', '.join(unknown)}. {settings_file.advice(unknown[0], known)}")
    return found


def _ways() -> dict[str, list[str]]:
    """The variables of each field, the one that counts first."""

    def ways(name: str, field: FieldInfo) -> list[str]:
        alias = field.validation_alias
        own = f"CUPOLA_{name.upper()}"
        return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [own]

    return {name: ways(name, field) for name, field in Settings.model_fields.items()}


def _config_file(flags: dict[str, Any], variables: dict[str, str]) -> tuple[Path, bool]:
    """The file to read, and whether it was asked for: if not, it need not be there."""

    def told(name: str) -> Any:
        return flags.get(name) or (os.environ[variables[name]] if name in variables else None)  # noqa: TID251

    if file := told("config"):
        return Path(file), True
    return Path(told("home") or platformdirs.user_data_dir("cupola")) / settings_file.NAME, False


def _require_placed(path: Path, entries: Mapping[str, Entry], *, asked_for: bool) -> None:
    """A file cannot say which file is read."""
    if "config" in entries:
        place = f"{path}, line {entries['config'].line}"
        raise ConfigError(f"{place}: config is a flag or a variable, and no setting of a file.")
    if "home" in entries and not asked_for:
        place = f"{path}, line {entries['home'].line}"
        raise ConfigError(f"{place}: home is where this file was found, and cannot be set in it.")


def _described(origins: Mapping[str, Origin], failure: Any) -> str:
    """A failure of validation in a sentence, with what was given unless it is a secret."""
    name = _field_name(str(failure["loc"][0]))
    origin = origins.get(name, Origin("default"))
    place = f"{origin.place}: {name}" if origin.kind == "file" else origin.place or f"CUPOLA_{name.upper()}"
    given = "" if name in SECRETS else f" (got {failure['input']!r})"
    return f"{place}: {failure['msg'].removeprefix('Value error, ')}{given}"


def _field_name(location: str) -> str:
    return next((name for name, ways in _ways().items() if location in ways), location)


SECRETS = frozenset({"api_key", "hf_token"})
