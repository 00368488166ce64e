"""`cupola verify`: whether the disk still holds what was pulled."""

import json
from typing import Annotated

import typer

from ..errors import HashMismatch, ModelNotPulled
from ..models.files import storage_errors
from ..models.manifest import Manifest
from ..models.registry import Registry
from ..models.store import Store
from ..settings import load_settings
from .arguments import AsJson, model_names
from .progress import megabytes, shown

Target = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="Only this one; default: everything here.", autocompletion=model_names),
]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(epilog="Examples: cupola verify · cupola verify smollm2 · cupola verify smollm2@gguf-q4_1 --json")(
        verify
    )


def verify(target: Target = None, as_json: AsJson = False) -> None:
    """Read every stored file again and compare it with its hash.

    The exit status is 1 where one is damaged or gone; it is said how to mend it.
    """
    settings = load_settings()
    store = Store(settings.home)
    damage: dict[str, str] = {}
    manifests = _asked(store, Registry.load(settings.overlay), target)
    for manifest in manifests:
        name = f"{manifest.model}@{manifest.variant}"
        try:
            with shown(name) as report, storage_errors(settings.home):
                store.verify(manifest, report)
        except HashMismatch as error:
            damage[name] = error.message
        if not as_json:
            _tell(manifest, name, damage.get(name))
    if as_json:
        found = {f"{one.model}@{one.variant}": one.size for one in manifests}
        rows = [{"id": name, "size": size, "damage": damage.get(name)} for name, size in found.items()]
        typer.echo(json.dumps({"verified": rows, "whole": not damage}, indent=2))
    elif not manifests:
        typer.echo("No model has files here; get one with: cupola pull smollm2")
    if damage:
        raise typer.Exit(1)


def _tell(manifest: Manifest, name: str, damage: str | None) -> None:
    if damage is None:
        count = len(manifest.files)
        whole = "1 file" if count == 1 else f"{count} files"
        typer.echo(f"{name}: {whole}, {megabytes(manifest.size)}, as pulled.")
    else:
        typer.secho(f"{name}: {damage}", fg="red")


def _asked(store: Store, registry: Registry, target: str | None) -> list[Manifest]:
    """What to look at. Of what models.yaml does not name any more the files are here too."""
    records = [manifest for manifest in store.records() if manifest.files]
    if target is None:
        return records
    model, variants = registry.resolve(target)
    names = {variant.name for variant in variants}
    found = [manifest for manifest in records if manifest.model == model.name and manifest.variant in names]
    if not found:
        raise ModelNotPulled(f"Model '{target}' is not here; get it with: cupola pull {target}")
    return found
