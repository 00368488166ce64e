"""`cupola list show rm add`: the models on this device and where they come from."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InvalidValue, ModelNotPulled
from ..models.adopt import describe
from ..models.ancestry import same_model, served_as
from ..models.lineage import record_of
from ..models.names import ModelName
from ..models.overlay import add_model
from ..models.registry import Registry
from ..models.spec import DerivedSource, ModelSpec, Variant
from ..models.store import Store
from ..settings import load_settings
from . import adapters, details
from .arguments import AsJson, Name
from .choosing import described, open_chooser
from .progress import megabytes

_PULLED = {"created", "commit", "files", "derivation", "quality", "record"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("list", epilog="Examples: cupola list · cupola list --pulled --json")(list_models)
    app.command(epilog="Examples: cupola show smollm2 · cupola show phi-4-mini@onnx --json")(show)
    app.command("rm", epilog="Examples: cupola rm smollm2 · cupola rm phi-4-mini@onnx --json")(remove)
    app.command(
        epilog="Examples: cupola add ./tuned.gguf --name tuned · cupola add Qwen/Qwen3-8B-GGUF --file '*Q4_K_M.gguf'"
    )(add)


def list_models(
    pulled: Annotated[bool, typer.Option("--pulled", help="Only what is on this device.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the models, their variants and which of them are on this device.

    What this device can make of them itself is listed once it is here; `cupola show` has all of it.
    """
    settings = load_settings()
    registry, store = Registry.load(settings.overlay), Store(settings.home)
    rows = [_row(registry, store, model, variant) for model in registry.models for variant in model.variants]
    rows = [row for row in rows if row["pulled"] or not (pulled or row["derived"])]
    if as_json:
        typer.echo(json.dumps({"models": rows}, indent=2))
        return
    for before, row in zip([None, *rows], rows, strict=False):
        if before is None or before["name"] != row["name"]:
            typer.echo(f"{row['name']:<31} {', '.join(row['aliases']):<32} {row['licence']}".rstrip())
        state = ", ".join(
            ["pulled"] * row["pulled"] + ["made here"] * row["derived"] + ["unverified"] * (not row["verified"])
        )
        size = megabytes(row["size"]) if row["size"] else ""
        typer.echo(f"  {row['variant']:<20} {row['format']:<11} {row['quantization']:<8} {size:>9}  {state}".rstrip())
    if any(not row["verified"] for row in rows):
        typer.echo(
            "\nunverified: models.yaml promises no hash; the one its source states is checked when it is pulled."
        )


def _row(registry: Registry, store: Store, model: ModelSpec, variant: Variant) -> dict[str, Any]:
    manifest = store.manifest(model, variant)
    return {
        "name": model.name,
        "aliases": list(registry.aliases(model)),
        "variant": variant.name,
        "format": variant.format,
        "quantization": variant.quantization,
        "size": manifest.size if manifest else variant.size,
        "licence": model.licence,
        "pulled": manifest is not None,
        "derived": isinstance(variant.source, DerivedSource),
        # Pulled or not, this says whether models.yaml promises the bytes or the source's own word was taken.
        "verified": variant.verified,
    }


def show(name: Name, as_json: AsJson = False) -> None:
    """Show everything known about a model: its variants, where they come from, and what was pulled."""
    settings = load_settings()
    registry, store = Registry.load(settings.overlay), Store(settings.home)
    model, variants = registry.resolve(name)
    shown_variants = [_details(store, model, variant) for variant in variants]
    _, choices = open_chooser(settings).ranking_with_sizes(name, settings.context, settings.slots)
    about = model.model_dump(mode="json", exclude={"variants", "aliases"})
    about |= {"aliases": list(registry.aliases(model)), "variants": shown_variants}
    about |= {"ranking": [described(model, choice) for choice in choices]}
    if as_json:
        typer.echo(json.dumps(about, indent=2))
        return
    for line in details.about(model, registry.aliases(model), choices, store):
        typer.echo(line)


def _details(store: Store, model: ModelSpec, variant: Variant) -> dict[str, Any]:
    manifest = store.manifest(model, variant)
    pulled = manifest.model_dump(mode="json", include=_PULLED, exclude_none=True) if manifest else {}
    return {
        "id": model.variant_id(variant),
        **variant.model_dump(mode="json", exclude={"name"}, exclude_none=True),
        "verified": variant.verified,
        "pulled": pulled | {"digest": manifest.digest} if manifest else None,
    } | ({"path": str(store.path(manifest))} if manifest and manifest.files else {})


def remove(name: Name, as_json: AsJson = False) -> None:
    """Delete the files of a model, of one variant with @VARIANT, and what an interrupted pull of it left."""
    settings = load_settings()
    if ModelName.parse(name).adapter is not None:
        raise InvalidValue(f"An adapter has no files in the store; take '{name}' out of {settings.overlay}.")
    model, variants = Registry.load(settings.overlay).resolve(name)
    store = Store(settings.home)
    freed, found = 0, False
    for variant in variants:
        left = store.discard_partial(model, variant)
        if store.recorded(model, variant):
            freed += store.remove(model, variant)
            found = True
        freed, found = freed + left, found or left > 0
    if not found:
        raise ModelNotPulled(f"Model '{name}' has no files here; 'cupola list --pulled' shows which models have.")
    said = json.dumps({"removed": name, "freed": freed}, indent=2)
    typer.echo(said if as_json else f"Removed {name}: {megabytes(freed)} freed.")


def add(
    source: Annotated[
        str, typer.Argument(metavar="PATH_OR_REPO", help="GGUF file, ONNX GenAI folder, or owner/model.")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; default: the name of the file or model.")] = None,
    file: Annotated[str | None, typer.Option(help="Which files of a repository, as a pattern.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Context length, where the file does not say.")] = None,
    licence: Annotated[str, typer.Option(help="SPDX identifier or name of its licence.")] = "unknown",
    adapter_of: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="PATH is a LoRA adapter of this model: PEFT's folder, or a file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register a model or an adapter of your own in the models.yaml of $CUPOLA_HOME."""
    settings = load_settings()
    if adapter_of is not None:
        added, formats = adapters.add(Path(source).expanduser(), adapter_of, name, licence, settings)
        said = {"added": added, "overlay": str(settings.overlay), "formats": formats}
        told = f"Added {added} to {settings.overlay}, for {' and '.join(formats)}."
        typer.echo(json.dumps(said, indent=2) if as_json else told)
        return
    model, registry = describe(source, name, file, context, licence), Registry.load(settings.overlay)
    refuse_taken(registry, model.name)
    path = Path(source).expanduser()
    record = record_of(path) if path.exists() else None
    add_model(settings.overlay, served_as(model, same_model(record, registry, Store(settings.home))))
    said = {"added": model.name, "overlay": str(settings.overlay), "formats": [v.format for v in model.variants]}
    told = f"Added {model.name} to {settings.overlay}. Next: cupola pull {model.name}"
    typer.echo(json.dumps(said, indent=2) if as_json else told)


def refuse_taken(registry: Registry, name: str) -> None:
    """A name of one's own must not take over another model by accident; who means to, writes models.yaml himself."""
    if name in {known for model in registry.models for known in (model.name, *registry.aliases(model))}:
        raise InvalidValue(f"'{name}' is the name or alias of a known model; choose another one.")
