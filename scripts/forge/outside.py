"""Digests of what a recipe names and no stage makes: a stage runs again where one of its files has changed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from server.errors import InvalidValue
from server.settings import Settings

from ..checkpoint import find_checkpoint
from .plan import BASE
from .recipe import ForgeRecipe, Section

# Fields of each section that name files and folders. A bare name may mean something else: a task of ours, a model.
FILES = {
    "teach": ("prompts", "task"),
    "data": ("sources", "validation", "test", "folder", "tokenizer"),
    "distil": ("teacher",),
    "finetune": ("loss",),
    "evaluate": ("schema_file", "tasks_dir"),
}
READERS = {"evaluate": ("evaluate", "quality")}  # kinds of stages, where they are not called as the section is


def digests(recipe: ForgeRecipe, origin: Path, base: Path, settings: Settings) -> dict[str, dict[str, str]]:
    """By kind of stage and path. Raises InvalidValue for a file that is not there."""
    found = {BASE: {BASE: _digest(base)}}
    for section, fields in FILES.items():
        told: Section = getattr(recipe, section) or {}
        read = {path: _digest(place) for path, place in _named(told, fields, origin)}
        teacher = told.get("teacher")
        if isinstance(teacher, str) and teacher not in read:  # a model by its name, which may move on to another
            read[teacher] = _digest(find_checkpoint(teacher, settings))
        found |= dict.fromkeys(READERS.get(section, (section,)), read)
    return found


def _named(section: Section, fields: tuple[str, ...], origin: Path) -> Iterator[tuple[str, Path]]:
    for field in fields:
        given = section.get(field)
        for name in [given] if isinstance(given, str) else given or ():
            path = str(name).rpartition(":")[0] if field == "loss" and ".py:" in str(name) else str(name)
            place = origin.parent / Path(path).expanduser()
            if place.exists():
                yield path, place
            elif field not in ("loss", "teacher", "tokenizer") and ("/" in path or "." in path):
                raise InvalidValue(f"{origin} names {path}, and there is no {place}.")


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        with file.open("rb") as stream:
            whole.update(f"{file.relative_to(path)} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
