"""A new version of a model: its artifacts as variants of one entry, under a name that moves on to it."""

import re
import shutil
from pathlib import Path

from server.errors import InvalidValue
from server.models.adopt import describe
from server.models.files import storage_errors
from server.models.lineage import read_record
from server.models.overlay import add_version
from server.models.registry import Registry
from server.models.spec import ModelSpec, Sampling
from server.models.store import Store
from server.settings import Settings


def next_version(name: str, registry: Registry) -> str:
    """NAME-v3 where there are v1 and v2."""
    pattern = re.compile(rf"{re.escape(name)}-v(\d+)")
    numbers = [int(found[1]) for model in registry.models if (found := pattern.fullmatch(model.name))]
    return f"{name}-v{max(numbers, default=0) + 1}"


def refuse_taken(name: str, registry: Registry) -> None:
    """Raises InvalidValue where a name means a model that is no version of it: as an alias it would hide that one."""
    for model in registry.models:
        is_version = re.fullmatch(rf"{re.escape(name)}-v\d+", model.name)
        if not is_version and name in (model.name, *registry.aliases(model)):
            raise InvalidValue(f"name: '{name}' is {model.name} already; choose another name for what is forged.")


def registered(name: str, artifacts: dict[str, Path], settings: Settings) -> ModelSpec | None:
    """The version that is of these very files, if there is one: a line that ran to its end registers once."""
    wanted = {_digest(path) for path in artifacts.values()}
    registry, store = Registry.load(settings.overlay), Store(settings.home)
    for model in registry.models:
        if name in model.aliases:
            manifests = [store.manifest(model, variant) for variant in model.variants]
            records = {manifest.record.digest for manifest in manifests if manifest and manifest.record}
            if records == wanted:
                return model
    return None


def register(name: str, artifacts: dict[str, Path], settings: Settings) -> ModelSpec:
    """The new entry, with its files in the store. `artifacts`: files and folders by the names of their variants.

    The files are pulled before the entry is written: what is registered is there. It is served as it was measured: the
    likeliest token, and no system message but the request's, whatever its base has.
    """
    version = next_version(name, Registry.load(settings.overlay))
    home = settings.home / "forged" / version
    described = []
    with storage_errors(settings.home):
        shutil.rmtree(home, ignore_errors=True)
        for variant, path in artifacts.items():
            source = path if path.is_dir() else path.parent
            shutil.copytree(source, home / variant)
            file = home / variant if path.is_dir() else home / variant / path.name
            licence = (read_record(source) or _Unknown).licence
            model = describe(str(file), version, None, None, licence)
            described.append(model.variants[0].model_copy(update={"name": variant}))
    measured = {"sampling": Sampling(temperature=0.0), "system": None}
    told = {"aliases": (name,), "variants": tuple(described), "description": f"Forged: {name}."}
    entry = model.model_copy(update=measured | told)
    store = Store(settings.home)
    for one in entry.variants:
        store.pull(entry, one, settings)
    add_version(settings.overlay, entry)
    return entry


def _digest(path: Path) -> str:
    record = read_record(path if path.is_dir() else path.parent)
    return record.digest if record is not None else ""


class _Unknown:
    """Of what has no record."""

    licence = "unknown"
