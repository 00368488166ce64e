"""`cupola sign verify-signature`: who made a model, and that not a byte of it has changed since."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidValue
from ..models import signing
from ..models.registry import Registry
from ..models.store import Store
from ..settings import load_settings
from .arguments import AsJson
from .choosing import pulled_files

Target = Annotated[str, typer.Argument(metavar="MODEL_OR_PATH", help="Name of a model here, a folder, or a file.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(epilog="Examples: cupola sign ./tuned-onnx --key private.pem · cupola sign smollm2 --key private.pem")(
        sign
    )
    app.command("verify-signature", epilog="Examples: cupola verify-signature smollm2 --public-key public.pem")(verify)


def sign(
    target: Target,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Private key: PEM, elliptic curve, without a password.")],
    as_json: AsJson = False,
) -> None:
    """Sign every file of a model with your private key. Needs the extra `signing`, and no network."""
    signed = {}
    for label, artifact in _artifacts(target):
        signed[label] = str(signing.sign(artifact, key))
        if not as_json:
            typer.echo(f"{label} is signed: {signed[label]}")
    if as_json:
        typer.echo(json.dumps({"signed": signed}, indent=2))


def verify(
    target: Target,
    public_key: Annotated[Path, typer.Option(metavar="FILE", help="Public key that belongs to the signer's private.")],
    as_json: AsJson = False,
) -> None:
    """Check that a model is signed with a key, and that its files are what was signed. Status 1 if not."""
    signing.require_key(public_key)
    checked = []
    for label, artifact in _artifacts(target):
        signing.require_signed(artifact, public_key, label)
        checked.append(label)
        if not as_json:
            typer.echo(f"{label}: every file is as it was signed.")
    if as_json:
        typer.echo(json.dumps({"verified": checked}, indent=2))


def _artifacts(target: str) -> Iterator[tuple[str, signing.Artifact]]:
    """A path, or every variant of the name that is here. Raises InvalidValue, ModelNotFound, ModelNotPulled."""
    path = Path(target).expanduser()
    if path.exists():
        if path.is_dir() and not any(path.iterdir()):
            raise InvalidValue(f"{path} is empty: there is nothing to sign.")
        yield target, signing.Artifact(path)
        return
    settings = load_settings()
    model, variants = Registry.load(settings.overlay).resolve(target)
    store = Store(settings.home)
    for manifest in pulled_files(store, target, model, variants):
        yield f"{manifest.model}@{manifest.variant}", signing.stored(settings.home, manifest, store.path(manifest))
