"""What `cupola show` tells a person about a model: short lines, the ranking first."""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from ..models.lineage import Record, Step
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
WIDTH = 100  # columns


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
        yield from shown(*origin_of(variant.source))
        if variant.sha256:
            yield f"{INDENT}sha256 {variant.sha256}"
        yield from _pulled(store, variant, store.manifest(model, variant))


def origin_of(source: Source | None) -> Iterator[str]:
    """Where an artifact comes from, in a line."""
    match source:
        case HuggingFaceSource():
            yield f"from {source.repo} on the hub, {', '.join(source.files)}"
        case PypiSource():
            packages = dict.fromkeys(f"{part.package} {part.version}" for part in source.parts)
            more = f" and {len(packages) - 1} more packages" if len(packages) > 1 else ""
            yield f"from the Python index: {next(iter(packages))}{more}"
        case WheelSource():
            yield f"from the Python index: {len(source.files)} files of {source.package} {source.version}"
        case FileSource():
            yield f"from {source.path}"
        case DerivedSource():
            yield f"made here of {source.variant} by {source.converter}, precision {source.precision}"


def _pulled(store: Store, variant: Variant, manifest: Manifest | None) -> Iterator[str]:
    if manifest is None:
        size = f", {megabytes(variant.size)}" if variant.size else ""
        yield f"{INDENT}not here{size}"
        return
    if not manifest.files:
        return
    yield f"{INDENT}here since {manifest.created:%Y-%m-%d}, {megabytes(manifest.size)}: {store.path(manifest)}"
    yield f"{INDENT}digest {manifest.digest}"
    if made := manifest.derivation:
        notes = "".join(f"; {note}" for note in made.notes)
        yield from shown(f"{made.rounded} of {made.tensors} matrices rounded{notes}")
    quality = manifest.quality or (manifest.record.quality if manifest.record else None)
    if quality is not None:
        yield (
            f"{INDENT}KL to the {quality.reference} {quality.kl_mean:.2g} (99th percentile {quality.kl_p99:.2g}),"
            f" same likeliest token {quality.top1:.1%}"
        )
    if manifest.record is not None:
        yield from shown(*lineage(manifest.record))


def lineage(record: Record) -> Iterator[str]:
    """What a record says beyond a manifest: the base, what it consists of, and how it came to be, a line a fact."""
    base = f"made from {record.base_model}" if record.base_model else "of unknown origin"
    yield f"{base}, licence {record.licence}"
    yield f"weights, template and configuration {record.digest}"
    mix = ", ".join(f"{count} {kind}" for kind, count in record.tensor_types.items())
    count = f"{record.parameters:,} parameters; " if record.parameters else ""
    if count or mix:
        yield f"{count}tensors: {mix or 'not counted'}"
    for number, step in enumerate(record.steps, 1):
        yield from _step(number, step)
    yield f"recorded {record.created:%Y-%m-%d} by Cupola {record.cupola_version}"


def _step(number: int, step: Step) -> Iterator[str]:
    took = [f"{step.seconds:.0f} s"] if step.seconds is not None else []
    took += [f"{megabytes(step.peak_memory)} of memory at most"] if step.peak_memory else []
    cost = f" ({', '.join(took)})" if took else ""
    yield f"{number}. {step.tool}{cost}"
    for title, entries in (("with", step.parameters), ("by", step.versions)):
        if entries:
            yield f"   {title} " + ", ".join(f"{name} {value}" for name, value in entries.items())
    for title, hashes in (("of", step.inputs), ("text", step.datasets)):
        yield from (f"   {title} {name}, {digest[:16]}" for name, digest in hashes.items())


def shown(*lines: str) -> Iterator[str]:
    """Lines no longer than a terminal usually is wide; what follows on stands further in."""
    for line in lines:
        inner = len(line) - len(line.lstrip())
        yield from wrap(
            line.lstrip(),
            WIDTH,
            initial_indent=INDENT + " " * inner,
            subsequent_indent=INDENT + " " * (inner + 2),
            break_on_hyphens=False,
        )
