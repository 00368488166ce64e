"""What `cupola show` tells a person about a model: short lines, the ranking first."""

from collections.abc import Iterator
from typing import Any

from ..models.manifest import Manifest
from ..models.select import Choice
from ..models.spec import (
    DerivedSource,
    FileSource,
    HuggingFaceSource,
    ModelSpec,
    PypiSource,
    Source,
    Variant,
    WheelSource,
)
from ..models.store import Store
from .choosing import ranked
from .progress import megabytes

INDENT = "    "


def about(model: ModelSpec, aliases: tuple[str, ...], choices: list[Choice], store: Store) -> Iterator[str]:
    """Everything known, line by line."""
    facts: dict[str, Any] = {
        "Name": model.name,
        "Aliases": ", ".join(aliases),
        "Description": model.description,
        "Licence": model.licence,
        "Tasks": ", ".join(model.tasks),
        "Parameters": f"{model.parameters:,}" if model.parameters else "unknown",
        "Context length": f"{model.context_length:,}",
        "System message": model.system,
        "Sampling": ", ".join(
            f"{key} {value:g}" for key, value in model.sampling.model_dump(exclude_defaults=True).items()
        ),
    }
    yield from (f"{name:<16}{value}" for name, value in facts.items() if value)
    yield "\nOn this device, best first"
    yield from ranked(model, choices)
    for variant in {choice.variant.name: choice.variant for choice in choices}.values():
        yield f"\n{model.variant_id(variant)}"
        yield f"{INDENT}{variant.format}, {variant.quantization}, for {', '.join(variant.devices)}"
        yield from _source(variant.source)
        if variant.sha256:
            yield f"{INDENT}sha256 {variant.sha256}"
        yield from _pulled(store, variant, store.manifest(model, variant))


def _source(source: Source | None) -> Iterator[str]:
    match source:
        case HuggingFaceSource():
            yield f"{INDENT}from {source.repo} on the hub, {', '.join(source.files)}"
        case PypiSource():
            packages = dict.fromkeys(f"{part.package} {part.version}" for part in source.parts)
            yield f"{INDENT}from the Python index: {next(iter(packages))}" + (
                f" and {len(packages) - 1} more packages" if len(packages) > 1 else ""
            )
        case WheelSource():
            yield f"{INDENT}from the Python index: {len(source.files)} files of {source.package} {source.version}"
        case FileSource():
            yield f"{INDENT}from {source.path}"
        case DerivedSource():
            yield f"{INDENT}made here of {source.variant} by {source.converter}, precision {source.precision}"


def _pulled(store: Store, variant: Variant, manifest: Manifest | None) -> Iterator[str]:
    if manifest is None:
        size = f", {megabytes(variant.size)}" if variant.size else ""
        yield f"{INDENT}not here{size}"
        return
    if not manifest.files:
        return
    yield f"{INDENT}here since {manifest.created:%Y-%m-%d}, {megabytes(manifest.size)}: {store.path(manifest)}"
    if made := manifest.derivation:
        yield f"{INDENT}{made.rounded} of {made.tensors} matrices rounded{''.join(f'; {note}' for note in made.notes)}"
    if quality := manifest.quality:
        yield (
            f"{INDENT}KL to its origin {quality.kl_mean:.2g} (99th percentile {quality.kl_p99:.2g}),"
            f" same likeliest token {quality.top1:.1%}"
        )
