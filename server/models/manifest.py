"""What was pulled: one manifest for each variant in the store, written last."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from .. import __version__
from .lineage import Record, StoredFile
from .names import Name
from .quality import Quality
from .spec import Format, ModelSpec, Sha256, Source, Variant


class Derivation(BaseModel):
    """How an artifact was made here from another one.

    `rounded` of `tensors` matrices are not bit for bit those of the origin; `origin` and `digest` say which it was, and
    `revision` which state of the converter made it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    origin: Name
    digest: Sha256
    revision: int = 0
    rounded: int
    tensors: int
    notes: tuple[str, ...] = ()


class Manifest(BaseModel):
    """Where an artifact came from and exactly which bytes it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Cupola may have written more

    model: Name
    variant: Name
    format: Format
    quantization: str
    licence: str
    source: Source | None = None
    commit: str | None = None
    files: tuple[StoredFile, ...] = ()
    derivation: Derivation | None = None
    quality: Quality | None = None
    """Against the origin, measured when it was made; None for what was pulled."""
    record: Record | None = None
    """How it came to be, as whoever made it wrote beside it; None where nobody did."""
    created: datetime
    cupola_version: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """Identifies the content: the same files under the same names, whenever and wherever they were pulled."""
        lines = sorted(f"{file.sha256} {file.name}\n" for file in self.files)
        return sha256("".join(lines).encode()).hexdigest()


def make_manifest(
    model: ModelSpec,
    variant: Variant,
    files: tuple[StoredFile, ...] = (),
    commit: str | None = None,
    derivation: Derivation | None = None,
    quality: Quality | None = None,
    record: Record | None = None,
) -> Manifest:
    """The record of a pull that just ended."""
    return Manifest(
        model=model.name,
        variant=variant.name,
        format=variant.format,
        quantization=variant.quantization,
        licence=model.licence,
        source=variant.source,
        commit=commit,
        files=files,
        derivation=derivation,
        quality=quality,
        record=record,
        created=datetime.now(UTC),
        cupola_version=__version__,
    )


def read_manifest(path: Path) -> Manifest | None:
    """A manifest; one that cannot be read counts as absent, and the next pull writes it again."""
    try:
        found = Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return found if (found.model, found.variant) == (path.parent.name, path.stem) else None
