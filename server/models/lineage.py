"""What an artifact is and how it came to be: a record that whoever made it writes beside its files, last.

`cupola.json` in an artifact's folder says it; the store keeps it in the manifest, `cupola show` prints it and
`cupola bom` exports it. A folder without one came from somewhere else.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from .. import __version__
from ..errors import InvalidValue
from .quality import Quality
from .spec import InnerPath, Sha256

RECORD = "cupola.json"
LARGEST = 4 << 20  # bytes of a record
# What decides the answers; tokenizer files too, since other tokens are other answers.
DECISIVE = (".gguf", ".onnx", ".data", ".safetensors", ".jinja", ".onnx_adapter")
CONFIGS = {"generation_config.json", "genai_config.json", "tokenizer.json", "tokenizer_config.json", "config.json"}
# Steps after which a model is still the one it was made from, in another form.
FORMS = frozenset({"gguf-to-hf", "hf-to-gguf", "hf-to-onnx", "gguf-to-gguf", "gguf-to-onnx", "olive"})
Scalar = str | int | float | bool | None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Cupola may have written more


class Step(_Record):
    """One thing that was done, with everything needed to do it again."""

    tool: str
    """The command: gguf-to-hf, hf-to-onnx, quantize, prune, merge ..."""
    parameters: dict[str, Scalar] = {}
    versions: dict[str, str] = {}
    """Of the programs and libraries whose version changes the result."""
    inputs: dict[str, Sha256] = {}
    """What was read, by name: the digests of artifacts (`digest` of their own records where they have one) or files."""
    datasets: dict[str, Sha256] = {}
    """Texts that it learned from or was calibrated with, by name."""
    seconds: float | None = None
    peak_memory: int | None = None
    """Bytes of the process, at most."""


class StoredFile(_Record):
    """One file of an artifact; in the store its bytes are the blob of this hash."""

    name: InnerPath
    size: int
    sha256: Sha256


class Record(_Record):
    """An artifact: its files, its history, its measured quality."""

    base_model: str = ""
    """The model at the beginning of the line, as its makers call it."""
    licence: str = "unknown"
    parameters: int | None = None
    tensor_types: dict[str, int] = {}
    """How many tensors are stored in which type, counted in the files."""
    steps: tuple[Step, ...] = ()
    """From the first to the one that wrote these files."""
    files: tuple[StoredFile, ...] = ()
    digest: Sha256
    """Of weights, chat template and generation config: what decides the answers."""
    quality: Quality | None = None
    created: datetime
    cupola_version: str

    @property
    def datasets(self) -> dict[str, str]:
        """Every text that some step learned from."""
        return {name: digest for step in self.steps for name, digest in step.datasets.items()}


def read_record(folder: Path) -> Record | None:
    """The record beside an artifact's files; None where there is none. Raises InvalidValue for one that is damaged."""
    path = folder / RECORD
    try:
        if path.exists() and not path.is_file():
            raise InvalidValue(f"{path} is no file.")
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} has more than {LARGEST} bytes, so it is no record of an artifact.")
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise InvalidValue(f"{path} is damaged: {error.errors()[0]['msg']}.") from None


def of_files(record: Record | None, files: Iterable[StoredFile]) -> Record | None:
    """A record, if it is of these very files: one that stood beside other bytes says nothing of them.

    Files that decide nothing (a README, a signature) may have been laid beside since.
    """
    known = {file.name: file.sha256 for file in record.files} if record is not None else {}
    told = (file for file in files if file.name in known or _decisive(file.name))
    return record if all(known.get(file.name) == file.sha256 for file in told) else None


def record_of(source: Path) -> Record | None:
    """The record beside a file or in a folder, where it is of the very bytes. Raises InvalidValue for a damaged one."""
    record = read_record(source if source.is_dir() else source.parent)
    return of_files(record, recorded(source)) if record is not None else None


def recorded(source: Path) -> tuple[StoredFile, ...]:
    """Every file of an artifact with its hash, by name; a single file is an artifact of one."""
    if source.is_file():
        return (recorded_as(source, source.name),)
    paths = sorted(path for path in source.rglob("*") if path.is_file() and path.name != RECORD)
    return tuple(recorded_as(path, path.relative_to(source).as_posix()) for path in paths)


def recorded_as(path: Path, name: str) -> StoredFile:
    """A file with its hash, under the name that it has in the artifact."""
    with path.open("rb") as file:
        return StoredFile(name=name, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def digest(files: Iterable[StoredFile]) -> str:
    """Identifies weights, template and generation config; a README or another name for a folder changes nothing."""
    lines = sorted(f"{file.sha256} {file.name}\n" for file in files if _decisive(file.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _decisive(name: str) -> bool:
    return name.endswith(DECISIVE) or name.rpartition("/")[2] in CONFIGS


def now() -> dict[str, datetime | str]:
    """When and by what a record is made: the fields of it that do not depend on the artifact."""
    return {"created": datetime.now(UTC), "cupola_version": __version__}
