"""What a user names, as files that an engine loads: models here by name, GGUF files and ONNX folders by path."""

from collections import Counter
from functools import cached_property
from pathlib import Path

import msgspec

from server.errors import InvalidValue, ModelNotFound
from server.hardware.place import facts_of
from server.hardware.probe import read_system
from server.models.adopt import describe
from server.models.choice import Chooser, not_pulled
from server.models.lineage import RECORD
from server.models.names import ModelName
from server.models.registry import Registry
from server.models.spec import BACKENDS, FileSource
from server.models.store import Store
from server.settings import Settings

from .orders import Subject


class Finder:
    """Finds artifacts. The device is looked at when the first name is asked for, which takes up to two seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, targets: list[str]) -> list[Subject]:
        """One for each, called so that no two look the same. Raises InvalidValue, ModelNotFound, ModelNotPulled."""
        found = [self.subject(target) for target in targets]
        counts = Counter(subject.label for subject in found)
        return [
            subject if counts[subject.label] == 1 else msgspec.structs.replace(subject, label=target)
            for subject, target in zip(found, targets, strict=True)
        ]

    def subject(self, target: str) -> Subject:
        path = Path(target).expanduser()
        if path.exists() or "/" in target or "\\" in target or target.endswith(".gguf"):
            return _local(path)
        try:
            spec, choices = self._chooser.ranking(target)
        except ModelNotFound as error:
            raise ModelNotFound(f"There is no file or folder '{target}'. {error.message}") from None
        if spec.encodes:
            raise InvalidValue(f"{spec.name} makes embeddings; what is measured here are models that write text.")
        for choice in choices:
            if choice.candidate.manifest is not None and choice.device is not None:
                path = self._store.path(choice.candidate.manifest)
                label = f"{ModelName.parse(target).name}@{choice.variant.name}"
                return Subject(label, str(path), (choice.variant.backend,), choice.device, _size(path))
        raise not_pulled(target)

    @cached_property
    def _store(self) -> Store:
        return Store(self._settings.home)

    @cached_property
    def _chooser(self) -> Chooser:
        facts = facts_of(read_system(self._settings.home))
        return Chooser(Registry.load(self._settings.overlay), self._store, facts)


def _local(path: Path) -> Subject:
    if not path.exists():
        raise InvalidValue(f"There is no {path}.")
    spec = describe(str(path), "measured", None, None, "unknown")
    variant = spec.variants[0]
    if spec.encodes:
        raise InvalidValue(f"{path} makes embeddings; what is measured here are models that write text.")
    assert isinstance(variant.source, FileSource)
    found = Path(variant.source.path)
    label = found.stem if found.is_file() else path.resolve().name
    return Subject(label, str(found), BACKENDS[variant.format], "cpu", _size(found))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder without its record."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != RECORD)
