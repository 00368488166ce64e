"""`cupola pull`: bring a model here, in the variant that this device serves best."""

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from ..models import pulling
from ..models.choice import Chooser
from ..models.manifest import Manifest
from ..models.store import Store
from ..settings import Settings, load_settings
from .arguments import AsJson, Name
from .choosing import open_chooser
from .progress import megabytes, shown

_SAID = {"model", "variant", "format", "quantization", "quality"}


def register(app: typer.Typer) -> None:
    app.command(epilog="Examples: cupola pull smollm2 · cupola pull smollm2@onnx-int4 · cupola pull phi-4-mini --json")(
        pull
    )


def pull(
    name: Name,
    everything: Annotated[
        bool, typer.Option("--all", help="Every variant that can run here without giving quality away.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download a model, or go on with a download that was interrupted.

    Of its variants the one that this device serves best is taken; what is better made here is made from the download.
    """
    settings = load_settings()
    chooser = open_chooser(settings)
    here = []
    for manifest in _pulled_all(settings, chooser, name) if everything else [pull_best(settings, chooser, name)]:
        here.append(manifest.model_dump(mode="json", include=_SAID, exclude_none=True) | {"size": manifest.size})
        if not as_json:
            _say(manifest)
    if as_json:
        typer.echo(json.dumps({"pulled": here}, indent=2))


def _pulled_all(settings: Settings, chooser: Chooser, name: str) -> Iterator[Manifest]:
    model, choices = chooser.ranking(name)
    for variant in {c.variant.name: c.variant for c in choices if c.usable}.values():
        with shown(model.name) as report:
            yield Store(settings.home).pull(model, variant, settings, report)


def _say(manifest: Manifest) -> None:
    """Tell what is here now."""
    quality = manifest.quality
    how = f"; divergence from its source {quality.kl_mean:.2g}" if quality else ""
    typer.echo(f"{manifest.model}@{manifest.variant} is ready ({megabytes(manifest.size)}{how}).")


def ensure_pulled(settings: Settings, name: str) -> None:
    """Pull the best variant of a model unless one that `name` admits is here and can run."""
    chooser = open_chooser(settings)
    _, choices = chooser.ranking(name)
    if not any(choice.usable and choice.candidate.manifest for choice in choices):
        pull_best(settings, chooser, name)


def pull_best(settings: Settings, chooser: Chooser, name: str) -> Manifest:
    """Pull the best variant. A line says so where another had to take its place."""
    model, _ = chooser.ranking(name)
    with shown(model.name) as report:
        return pulling.pull_best(settings, Store(settings.home), chooser, name, report, _note)


def _note(text: str) -> None:
    typer.secho(f"Note: {text}", fg="yellow", err=True)
