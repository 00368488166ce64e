"""Configuration: one frozen value, made once. The only file that reads the environment.

Every field is set by `CUPOLA_<NAME>`; what Hugging Face's own tools name (`HF_ENDPOINT`, `HF_TOKEN`,
`HF_HUB_OFFLINE`) keeps its name. A bad value stops the start and is named.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import ConfigError

# What a child process may see of our environment: enough to find libraries and a temporary folder, and no secret.
CHILD_VARIABLES = frozenset(
    "PATH HOME LANG LC_ALL LC_CTYPE TZ TMPDIR TMP TEMP SYSTEMROOT USERPROFILE LOCALAPPDATA VIRTUAL_ENV PYTHONPATH"
    " PYTHONHOME LD_LIBRARY_PATH DYLD_LIBRARY_PATH CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES OMP_NUM_THREADS"
    " OMP_WAIT_POLICY OMP_PROC_BIND OMP_PLACES GOMP_SPINCOUNT".split()
)


class Settings(BaseSettings):
    """Where Cupola keeps its files, what it listens on and how it sizes an engine."""

    model_config = SettingsConfigDict(env_prefix="CUPOLA_", frozen=True, extra="forbid", populate_by_name=True)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("cupola")),
        description="models, downloads and the models.yaml overlay live here",
    )
    host: str = Field("127.0.0.1", description="address to listen on; beyond loopback is refused")
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 lets the system choose")] = 5272
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
    max_models: Annotated[int, Field(ge=1, description="models kept loaded at once")] = 3
    max_queue: Annotated[int, Field(ge=1, description="requests that may wait for one model; more get 429")] = 256
    max_body_bytes: Annotated[int, Field(ge=1024, description="largest request body")] = 4 * 1024 * 1024
    request_seconds: Annotated[float, Field(gt=0, description="time in which a request must have arrived whole")] = 30.0
    stall_seconds: Annotated[float, Field(gt=0, description="time a client may leave its answer unread")] = 30.0
    stored_responses: Annotated[int, Field(ge=1, description="responses kept for later requests; the oldest go")] = 1000
    stored_response_bytes: Annotated[int, Field(ge=1024, description="most bytes of JSON that those may take")] = 2**26
    background_responses: Annotated[int, Field(ge=1, description="background responses made at once")] = 64
    require_signature: Path | None = Field(
        default=None, description="public key (PEM); a model that is not signed with its private key is not loaded"
    )
    load_timeout: Annotated[float, Field(gt=0, description="seconds a model may take to load")] = 600.0
    template_seconds: Annotated[float, Field(gt=0, description="deadline of one chat template")] = 1.2
    powercap: Path = Field(Path("/sys/class/powercap"), description="where Linux tells the energy of the processors")
    otlp_endpoint: str | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP) that metrics and traces are sent to"
    )
    otlp_prompts: bool = Field(default=False, description="put prompts and answers into traces")
    shutdown_seconds: Annotated[int, Field(ge=0, description="grace for running streams at shutdown")] = 30
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="verbosity of the log")

    @property
    def url(self) -> str:
        """Where the server of these settings listens."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def overlay(self) -> Path:
        """The user's own models.yaml."""
        return self.home / "models.yaml"


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, with command-line values (None: not given) on top.

    Raises ConfigError that names each wrong field, and for a CUPOLA_ variable that does not exist.
    """
    known = {f"CUPOLA_{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith("CUPOLA_") and name not in known)  # noqa: TID251
    if unknown:
        raise ConfigError(f"Unknown setting {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(e['loc'])}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise ConfigError(f"Bad setting: {wrong}") from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    return name if name.isupper() else f"CUPOLA_{name.upper()}"


def child_environment() -> dict[str, str]:
    """The environment of a child process: no token, no key; no crash handler that prints arguments."""
    inherited = {name: value for name, value in os.environ.items() if name in CHILD_VARIABLES}  # noqa: TID251
    return inherited | {"GGML_NO_BACKTRACE": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
