"""What a person means by the source of a conversion or a training: a path, a model of the store, a repository."""

import re
from pathlib import Path

from pydantic import ValidationError

from ..errors import InvalidValue
from ..settings import Settings
from .files import located, place, storage_errors
from .lineage import RECORD
from .patience import Patience
from .progress import Report
from .registry import Registry
from .sources import connect
from .spec import HuggingFaceSource, ModelSpec, Variant
from .store import Store

_ENDINGS = (".safetensors", ".json", ".jinja")
_COMPANIONS = {"tokenizer.model", "merges.txt", "README.md"}


def find(source: str, settings: Settings, report: Report) -> Path:
    """The file or folder that is meant; a model of the hub is fetched. Raises InvalidValue and SourceError."""
    path = Path(source).expanduser()
    if path.exists():
        return located(path)
    store = Store(settings.home)
    if "/" not in source:
        model, variants = Registry.load(settings.overlay).resolve(source)
        for variant in variants:
            manifest = store.manifest(model, variant)
            if manifest is not None and variant.format in {"gguf", "safetensors"}:
                return store.path(manifest)
        raise InvalidValue(f"No GGUF or safetensors of {model.name} is here; pull it first: cupola pull {source}")
    return _fetched(source, settings, report)


def _fetched(repository: str, settings: Settings, report: Report) -> Path:
    """The checkpoint of a repository: safetensors and what belongs to them, nothing that has to be run to be read."""

    def variant(*files: str) -> Variant:
        source = HuggingFaceSource(repo=repository, files=files)
        return Variant(name="checkpoint", format="safetensors", source=source)

    try:
        everything = variant("*")
    except ValidationError:
        raise InvalidValue(f"'{repository}' is neither a file or folder here nor a repository 'owner/model'.") from None
    with connect(everything, settings, Patience()) as origin:
        names = [file.name for file in origin.list_files().files]
    wanted = [name for name in names if _belongs(name)]
    if not any(name.endswith(".safetensors") for name in wanted):
        raise InvalidValue(f"{repository} has no safetensors; weights of other kinds are not read.")
    name = re.sub(r"[^a-z0-9._-]+", "-", repository.lower()).strip("-._")
    model = ModelSpec(name=name, licence="unknown", context_length=1, variants=(variant(*wanted),))
    store = Store(settings.home)
    manifest = store.pull(model, model.variants[0], settings, report)
    named = store.path(manifest) / name  # the name by which records will call it
    with storage_errors(named):
        for file in manifest.files:
            place(store.path(manifest) / file.name, named / file.name)
    return named


def _belongs(name: str) -> bool:
    """Whether a file of a repository is of its checkpoint. A record of ours would speak of somebody else's bytes."""
    if "/" in name or name == RECORD or name.startswith("consolidated"):  # the same weights in the maker's own layout
        return False
    return name.endswith(_ENDINGS) or name in _COMPANIONS
