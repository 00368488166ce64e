"""Which known model an artifact still is, in another form: it is then served as that model is."""

from collections.abc import Iterator

from .lineage import FORMS, Record, StoredFile, digest
from .registry import Registry
from .spec import ModelSpec, PypiSource
from .store import Store

# Of a known model, by whatever converter. Names, sizes and variants are the new entry's own.
KEPT = ("tasks", "system", "sampling")


def same_model(record: Record | None, registry: Registry, store: Store) -> ModelSpec | None:
    """The known model at the beginning of a record; None where there is none, or where it has learned or lost since.

    It is known by its bytes, or by the name that its makers gave it.
    """
    if record is None or any(step.tool not in FORMS for step in record.steps):
        return None
    first = set(record.steps[0].inputs.values()) if record.steps else {record.digest}
    called = record.base_model.rpartition("/")[2].lower()
    for model in registry.models:
        if called == model.name or first & set(_digests(model, store)):
            return model
    return None


def served_as(made: ModelSpec, known: ModelSpec | None) -> ModelSpec:
    """An entry with what is kept of a known model, and with its licence where none is stated."""
    if known is None:
        return made
    kept = {name: getattr(known, name) for name in KEPT}
    return made.model_copy(update=kept | ({"licence": known.licence} if made.licence == "unknown" else {}))


def _digests(model: ModelSpec, store: Store) -> Iterator[str]:
    """By which records name a model: what is here of it, and what models.yaml promises of a single file."""
    for variant in model.variants:
        manifest = store.manifest(model, variant)
        if manifest is not None:
            yield manifest.record.digest if manifest.record else digest(manifest.files)
        elif variant.sha256 is not None and isinstance(variant.source, PypiSource):
            yield digest([StoredFile(name=variant.source.file, size=variant.size or 0, sha256=variant.sha256)])
