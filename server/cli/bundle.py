"""`cupola bundle`: a model and its server in one file, and that file on a device without a network."""

import json
import platform
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..environment import tool_environment
from ..errors import HashMismatch, InvalidValue, ModelNotPulled, SourceError, SourceUnreachable
from ..hardware import engines
from ..models import bundle as bundles
from ..models.bundle import Bundle, Part
from ..models.files import delete_tree, private_folder, storage_errors
from ..models.manifest import Manifest
from ..models.overlay import add_model
from ..models.registry import Registry, read_models_file
from ..models.spec import ModelSpec
from ..models.store import Store
from ..settings import Settings, load_settings
from .arguments import AsJson, Name
from .choosing import open_chooser
from .progress import megabytes, shown

MAKE = "Examples: cupola bundle smollm2 -o smollm2.tar · cupola bundle smollm2@onnx-exact -o edge.tar --wheels ./wheels"
INSTALL = "Examples: cupola bundle install smollm2.tar · cupola bundle install edge.tar --install-wheels ./venv"
# What an installed distribution of ONNX Runtime is called among Cupola's extras.
EXTRAS = {"onnxruntime": "cpu", "onnxruntime-gpu": "cuda"} | {
    f"onnxruntime-{name}": name for name in ("directml", "openvino", "qnn")
}
README = """This is a bundle of Cupola: a model, and the wheels of the server, for a device without a network.

With Cupola on the device:     cupola bundle install BUNDLE.tar
Without, first, as far as wheels are in it:
    tar -xf BUNDLE.tar wheels
    python3 -m venv venv && venv/bin/pip install --no-index --find-links wheels '{requirement}'
    venv/bin/cupola bundle install BUNDLE.tar
"""


class BundleGroup(TyperGroup):
    """`cupola bundle MODEL` is short for `cupola bundle make MODEL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the command of this file, with its own."""
    commands = typer.Typer(cls=BundleGroup, no_args_is_help=True, rich_markup_mode="rich")
    commands.command(epilog=MAKE)(make)
    commands.command(epilog=INSTALL)(install)
    about = "Put a model and its server into one file, for a device without a network."
    epilog = "Examples: cupola bundle smollm2 -o smollm2.tar · cupola bundle install smollm2.tar"
    app.add_typer(commands, name="bundle", help=about, epilog=epilog)


def make(
    name: Name,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file to write.")],
    wheels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Wheels to take; default: they are fetched and built by pip.")
    ] = None,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="The model only.")] = False,
    extra: Annotated[
        list[str] | None, typer.Option(help="Extra of Cupola for the engine: llama, cpu, cuda ... [default: as here]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model that is here, in the variant that serves, and the wheels of the server into one file."""
    settings = load_settings()
    spec, manifest = _chosen(settings, name)
    extras = extra or _extras(manifest)
    with ExitStack() as stack, shown(output.name) as report:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cupola-bundle-")))
        found = [] if no_wheels else _wheels(settings, wheels, folder, extras)
        requirement = f"cupola[{','.join(extras)}]=={__version__}" if found else ""
        readme = folder / "README.txt"
        readme.write_text(README.format(requirement=requirement or "cupola"), encoding="utf-8")
        parts = [Part("README.txt", readme), *(Part(f"wheels/{path.name}", path) for path in found)]
        parts += _of_artifact(settings, manifest)
        bundle = Bundle(
            cupola_version=__version__,
            created=datetime.now(UTC),
            platform=f"{platform.system()}-{platform.machine()}-{sys.implementation.cache_tag}",
            requirement=requirement,
            spec=_own_entry(settings, spec),
            manifests=(manifest,),
            files=tuple(bundles.listed(part, report) for part in parts),
        )
        bundles.write(output.expanduser(), bundle, parts, report)
    size = output.expanduser().stat().st_size
    said = {"file": str(output), "size": size, "model": _id(manifest), "wheels": len(found)}
    told = f"{output} is written: {_id(manifest)} and {len(found)} wheels, {megabytes(size)}."
    typer.echo(json.dumps(said, indent=2) if as_json else f"{told} There: cupola bundle install {output.name}")


def install(
    archive: Annotated[Path, typer.Argument(metavar="BUNDLE.tar", help="What cupola bundle wrote.")],
    install_wheels: Annotated[
        Path | None, typer.Option(metavar="VENV", help="Install the wheels into this virtual environment as well.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle and take its model into the store. Opens no connection.

    Nothing is to be seen of it before every byte was verified. The command that installs its wheels is printed, or run.
    """
    settings, path = load_settings(), archive.expanduser()
    python = _python_of(install_wheels) if install_wheels else Path(sys.executable)
    with shown(path.name) as report, bundles.unpacked(path, settings.home, report) as (bundle, folder):
        _require_fitting(settings, bundle)
        kept = _keep_wheels(settings, bundle, folder) if bundle.wheels else None
        Store(settings.home).adopt(bundle.manifests, folder)
        _keep_signatures(settings, bundle, folder)
    command = [str(python), "-m", "pip", "install", "--no-index", "--find-links", str(kept), bundle.requirement]
    if kept and install_wheels:
        _run(command, "The model is here; its wheels could not be installed")
    _tell(bundle, command if kept else None, ran=install_wheels is not None, as_json=as_json)


def _tell(bundle: Bundle, command: list[str] | None, *, ran: bool, as_json: bool) -> None:
    names = [_id(manifest) for manifest in bundle.manifests]
    if as_json:
        said = {"installed": names, "wheels": len(bundle.wheels), "command": command, "ran": ran}
        typer.echo(json.dumps(said, indent=2))
        return
    typer.echo(f"{', '.join(names)} is ready. Next: cupola serve {bundle.manifests[0].model}")
    if command and not ran:
        typer.echo(f"Its {len(bundle.wheels)} wheels are here too; install them with:\n  {shlex.join(command)}")


def _chosen(settings: Settings, name: str) -> tuple[ModelSpec, Manifest]:
    """What serves here of a name, else the first that is here. Raises ModelNotFound and ModelNotPulled."""
    model, choices = open_chooser(settings).ranking(name)
    here = [choice.candidate.manifest for choice in choices if choice.candidate.manifest]
    if not here or not here[0].files:
        raise ModelNotPulled(f"Model '{name}' is not here; get it with: cupola pull {name}")
    return model, here[0]


def _own_entry(settings: Settings, spec: ModelSpec) -> ModelSpec | None:
    """The user's own entry of models.yaml, without its adapters: their files are not part of a bundle."""
    own = read_models_file(settings.overlay).models if settings.overlay.is_file() else ()
    found = next((model for model in own if model.name == spec.name), None)
    return found.model_copy(update={"adapters": ()}) if found else None


def _of_artifact(settings: Settings, manifest: Manifest) -> list[Part]:
    blobs = {file.sha256: settings.home / "blobs" / f"sha256-{file.sha256}" for file in manifest.files}
    signature = settings.home / "signatures" / manifest.model / f"{manifest.variant}.sig"
    name = f"signatures/{manifest.model}/{manifest.variant}.sig"
    return [
        *([Part(name, signature)] if signature.is_file() else []),
        *(Part(bundles.blob_name(sha), path, sha) for sha, path in blobs.items()),
    ]


def _extras(manifest: Manifest) -> list[str]:
    if manifest.format == "gguf":
        return ["llama"]
    found = {EXTRAS[package.distribution] for package in engines.installed() if package.distribution in EXTRAS}
    return sorted(found) or ["cpu"]


def _wheels(settings: Settings, given: Path | None, folder: Path, extras: list[str]) -> list[Path]:
    """The wheels to take. Raises InvalidValue, SourceUnreachable and SourceError."""
    if given is not None:
        found = sorted(given.expanduser().glob("*.whl"))
        if not any(path.name.startswith("cupola-") for path in found):
            raise InvalidValue(f"{given} has no wheel of cupola; make it with: pip wheel --wheel-dir {given} cupola")
        return found
    if settings.offline:
        raise SourceUnreachable("Wheels are fetched, and CUPOLA_OFFLINE is set; give --wheels DIR or --no-wheels.")
    root = Path(__file__).parents[2]
    own = str(root) if (root / "pyproject.toml").is_file() else "cupola"
    version = "" if own == str(root) else f"=={__version__}"
    wanted = f"{own}[{','.join(extras)}]{version}"
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), wanted], "pip made no wheels")
    return sorted(folder.glob("*.whl"))


def _run(command: list[str], failed: str) -> None:
    """What pip says goes to stderr, since stdout is ours."""
    done = subprocess.run(command, env=tool_environment(), check=False, stdout=sys.stderr)
    if done.returncode:
        raise SourceError(f"{failed} (status {done.returncode}); it has said why.")


def _require_fitting(settings: Settings, bundle: Bundle) -> None:
    """Raises InvalidValue where models.yaml would not know what is installed; adds an own model where it is new."""
    registry = Registry.load(settings.overlay)
    known = {model.name: model for model in registry.models}
    for manifest in bundle.manifests:
        model = known.get(manifest.model)
        if model is None and bundle.spec is not None and bundle.spec.name == manifest.model:
            private_folder(settings.home)
            add_model(settings.overlay, bundle.spec)
            continue
        variant = next((one for one in model.variants if one.name == manifest.variant), None) if model else None
        if variant is None:
            raise InvalidValue(
                f"Cupola {__version__} does not know {_id(manifest)}, and the bundle is of {bundle.cupola_version}:"
                " install its wheels first."
            )
        if variant.sha256 is not None and [file.sha256 for file in manifest.files] != [variant.sha256]:
            raise HashMismatch(f"models.yaml promises other bytes for {_id(manifest)} than are in the bundle.")


def _keep_wheels(settings: Settings, bundle: Bundle, folder: Path) -> Path:
    """Move the wheels to where pip finds them; those of an earlier bundle go."""
    kept = settings.home / "wheels"
    with storage_errors(settings.home):
        delete_tree(kept)
        private_folder(kept)
        for wheel in bundle.wheels:
            (folder / bundles.flat_name(wheel.name)).replace(kept / Path(wheel.name).name)
    return kept


def _keep_signatures(settings: Settings, bundle: Bundle, folder: Path) -> None:
    for file in bundle.files:
        if file.name.startswith("signatures/"):
            target = settings.home / file.name
            private_folder(target.parent)
            shutil.copyfile(folder / bundles.flat_name(file.name), target)


def _python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment. Raises InvalidValue."""
    places = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    python = environment.expanduser().joinpath(*places).absolute()
    if not python.exists():
        raise InvalidValue(f"{environment} is no virtual environment; make one with: python -m venv {environment}")
    return python


def _id(manifest: Manifest) -> str:
    return f"{manifest.model}@{manifest.variant}"
