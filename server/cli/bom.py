"""`cupola bom`: a bill of materials of a model, for whoever keeps lists of what runs where."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidValue
from ..models.bom import Subject, bill
from ..models.files import storage_errors, write_atomically
from ..models.lineage import RECORD, of_files, read_record, recorded
from ..models.manifest import Manifest
from ..models.registry import Registry
from ..models.spec import FileSource, ModelSpec
from ..models.store import Store
from ..settings import load_settings
from .choosing import pulled_files
from .details import origin_of

Target = Annotated[
    str, typer.Argument(metavar="MODEL_OR_PATH", help="Name of a model here, or a folder that a converter made.")
]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Examples: cupola bom smollm2@gguf-q4_1 · cupola bom ./tuned-onnx -o tuned.cdx.json")(bom)


def bom(
    target: Target,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = None,
) -> None:
    """Print or write a CycloneDX 1.6 ML-BOM: files and hashes, licence, lineage, datasets, quality."""
    text = json.dumps(bill(_subject(target)), indent=2)
    if output is None:
        typer.echo(text)
        return
    with storage_errors(output.parent):
        write_atomically(output, f"{text}\n")
    typer.echo(f"{output} is written.")


def _subject(target: str) -> Subject:
    """A folder with a record, or what is here of a model. Raises InvalidValue, ModelNotFound, ModelNotPulled."""
    path = Path(target).expanduser()
    if path.exists():
        return _of_folder(path if path.is_dir() else path.parent)
    settings = load_settings()
    model, variants = Registry.load(settings.overlay).resolve(target)
    store = Store(settings.home)
    here = pulled_files(store, target, model, variants)
    if len(here) > 1:
        names = ", ".join(f"{manifest.model}@{manifest.variant}" for manifest in here)
        raise InvalidValue(f"A bill is of one artifact, and here are {names}. Choose one.")
    return _of_manifest(model, here[0])


def _of_folder(folder: Path) -> Subject:
    record = read_record(folder)
    if record is None:
        raise InvalidValue(f"{folder} has no {RECORD}, which converters write; cupola add it, and use its name.")
    if of_files(record, recorded(folder)) is None:
        raise InvalidValue(f"{folder / RECORD} is of other files than those beside it, so it says nothing of them.")
    files = tuple((file.name, file.size, file.sha256) for file in record.files)
    return Subject(folder.resolve().name, record.licence, files, record.digest, record.created, record=record)


def _of_manifest(model: ModelSpec, manifest: Manifest) -> Subject:
    return Subject(
        name=f"{manifest.model}@{manifest.variant}",
        licence=manifest.licence,
        files=tuple((file.name, file.size, file.sha256) for file in manifest.files),
        digest=manifest.record.digest if manifest.record else manifest.digest,
        created=manifest.created,
        description=model.description,
        tasks=model.tasks,
        origin="; ".join(_origin(manifest)),
        format=manifest.format,
        quantization=manifest.quantization,
        quality=manifest.quality,
        record=manifest.record,
    )


def _origin(manifest: Manifest) -> Iterator[str]:
    if isinstance(manifest.source, FileSource):
        yield f"from {Path(manifest.source.path).name}"  # where it lay on this machine is nobody's business
    else:
        yield from origin_of(manifest.source)
    if manifest.commit:
        yield f"commit {manifest.commit}"
    if made := manifest.derivation:
        yield f"origin {made.origin} {made.digest}, {made.rounded} of {made.tensors} matrices rounded"
        yield from made.notes
