"""What a model of the user's own is: a GGUF file, a folder with one or with an ONNX graph, or a repository with either.

A folder that Foundry Local loads says more: its name, what it is, and how it is sampled.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from ..errors import InvalidValue
from . import encoder_folder, foundry, gguf
from .files import located
from .footprint import parameters
from .lineage import read_record, record_of
from .spec import FileSource, Format, HuggingFaceSource, ModelSpec, Sampling, Source, Variant

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
_DEFAULT_CONTEXT = 4096
# OpenAI's default of 1 makes small models ramble; who knows better writes it into models.yaml.
ADVICE = Sampling(temperature=0.7, top_p=0.9)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_QUANTIZATION = re.compile(r"(?i)(?:^|[-_.*/])((?:iq|q)\d(?:_[a-z0-9]+)*|bf16|f16|f32|int4|int8)(?=[-_.*/]|$)")


class _GenaiModel(BaseModel):
    context_length: Annotated[int, Field(ge=1)] | None = None


class _GenaiConfig(BaseModel):
    model: _GenaiModel


def describe(target: str, name: str | None, pattern: str | None, context_length: int | None, licence: str) -> ModelSpec:
    """The entry for a path or a Hugging Face repository. Raises InvalidValue for what Cupola does not load."""
    given = Path(target).expanduser()
    if given.exists():
        path = _artifact(located(given))
        source, files, found = _local(path)
        details = _details(path)
        called = name or details.pop("name", None) or (given.stem if given.is_file() else given.resolve().name)
        entry = _entry(called, source, files, context_length or found, _licence(path, licence))
        return entry.model_copy(update={key: value for key, value in details.items() if key != "name"})
    if not _REPOSITORY.fullmatch(target):
        raise InvalidValue(f"'{target}' is neither a file or folder here nor a repository such as 'owner/model'.")
    refuse_pickle(pattern or "")
    if pattern is None:
        raise InvalidValue(
            f"Say which files of {target} to take: --file '*q4_k_m.gguf', or --file 'FOLDER/*' for ONNX Runtime GenAI."
        )
    repository = HuggingFaceSource(repo=target, files=(pattern,))
    return _entry(name or target.rpartition("/")[2], repository, pattern, context_length, licence)


def _artifact(path: Path) -> Path:
    """The file or folder that is loaded: of a folder with GGUF files the only one, or the only model below it."""
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise InvalidValue(f"{path} has {len(files)} GGUF files; add the one that is meant.")
    if files and not (path / foundry.GENAI).exists():
        return files[0]
    return path if _encodes(path) else foundry.model_folder(path)


def _details(path: Path) -> dict[str, Any]:
    """What an artifact says of itself, as fields of ModelSpec."""
    if _encodes(path):
        weights = {"parameters": parameters(path)} if path.is_file() else {}
        return weights | {"tasks": ("embeddings", "rerank"), "sampling": Sampling()}
    if path.is_file():
        return {"parameters": parameters(path)}
    record = read_record(path)
    details: dict[str, Any] = {"parameters": record.parameters} if record and record.parameters else {}
    described = foundry.read(path)
    if described is None:
        return details
    if described.template is not None:
        foundry.as_jinja(described.template)  # one that means nothing is refused here, and not when it is loaded
    details |= {"name": described.alias, "sampling": described.sampling(ADVICE)}
    return details | ({"description": described.description} if described.description else {})


def _licence(path: Path, given: str) -> str:
    """The licence that was given, or the one in the record beside the artifact."""
    record = record_of(path) if given == "unknown" else None
    return record.licence if record is not None else given


def refuse_pickle(name: str) -> None:
    """Raises InvalidValue for a file whose loading would run code."""
    if name.lower().endswith(_PICKLES):
        raise InvalidValue(f"{name} is a pickle, and loading one runs its code; convert the model to GGUF or ONNX.")


def _local(path: Path) -> tuple[Source, str, int | None]:
    """The source of a local artifact, the name that tells its format, and its context length. Looks at the bytes."""
    source = FileSource(path=str(path))
    if path.is_dir():
        config = path / "genai_config.json"
        if _encodes(path):
            return source, f"{path.name}/*", encoder_folder.read(path).context_length
        if not config.is_file():
            raise InvalidValue(
                f"{path} has no genai_config.json, so it is no ONNX Runtime GenAI model; and no modules.json beside a"
                f" {encoder_folder.GRAPH}, so it is no sentence encoder."
            )
        for file in path.rglob("*"):
            if file.suffix != ".bin":  # ONNX keeps external weights under any name, .bin among them
                refuse_pickle(file.name)
        return source, f"{path.name}/*", _genai_context(config)
    refuse_pickle(path.name)
    if not path.is_file():
        raise InvalidValue(f"{path} is neither a file nor a folder.")
    if path.suffix != ".gguf":
        raise InvalidValue(f"{path} is not called *.gguf; Cupola loads GGUF files and ONNX Runtime GenAI folders.")
    return source, path.name, gguf.context_length(path)


def _encodes(path: Path) -> bool:
    """Whether a local artifact makes embeddings: a GGUF file that says how it pools, or a folder with an encoder."""
    if path.is_file():
        return path.suffix == ".gguf" and bool(gguf.read(path).get("pooling_type", 0))
    genai = (path / "genai_config.json").exists()
    return not genai and all((path / name).is_file() for name in ("modules.json", encoder_folder.GRAPH))


def _genai_context(path: Path) -> int | None:
    try:
        return _GenaiConfig.model_validate_json(path.read_bytes()).model.context_length
    except ValidationError as error:
        raise InvalidValue(f"{path} is not a genai_config.json: {error.errors()[0]['msg']}.") from None


def _entry(name: str, source: Source, files: str, context_length: int | None, licence: str) -> ModelSpec:
    single = files.lower().endswith(".gguf")
    if not single and not files.endswith("*"):
        raise InvalidValue(f"'{files}' is neither a GGUF file nor a folder; Cupola loads GGUF and ONNX Runtime GenAI.")
    found = _QUANTIZATION.findall(files.rpartition("/")[2] if single else files)
    quantization = found[-1] if found else "unknown"  # a name may tell the type it was made of, too
    form: Format = "gguf" if single else "onnx"
    variant = Variant(name=slug(f"{form}-{quantization}"), format=form, quantization=quantization, source=source)
    return ModelSpec(
        name=slug(name),
        licence=licence,
        context_length=context_length or _DEFAULT_CONTEXT,
        variants=(variant,),
        sampling=ADVICE,
        description=f"Added from {_said(source)}.",
    )


def _said(source: Source) -> str:
    """Without the folders of this machine: descriptions are served, and stand in bills of materials."""
    return Path(source.path).name if isinstance(source, FileSource) else getattr(source, "repo", source.type)


def slug(name: str) -> str:
    """A name that models.yaml admits, close to the given one. Raises InvalidValue if nothing of it is left."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
    if not slug:
        raise InvalidValue(f"'{name}' makes no model name; choose one with --name.")
    return slug[:96]
