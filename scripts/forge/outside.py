"""Digests of what a recipe names and no stage makes: a line runs again where one of those files has changed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.errors import InvalidValue

from .recipe import ForgeRecipe

PATHS = ("sources", "validation", "test", "prompts", "folder", "task", "schema_file")  # fields that name files


def digests(recipe: ForgeRecipe, origin: Path, base: Path) -> dict[str, str]:
    """By path. Raises InvalidValue for a file that is not there."""
    found = {"base": _digest(base)}
    for section in (recipe.teach, recipe.data, recipe.evaluate):
        for path in _named(section or {}):
            place = origin.parent / Path(path).expanduser()
            if place.exists():
                found[str(path)] = _digest(place)
            elif "/" in str(path) or "." in str(path):
                raise InvalidValue(f"{origin} names {path}, and there is no {place}.")
    return found


def _named(section: dict[str, Any]) -> Iterator[str]:
    for field in PATHS:
        given = section.get(field)
        for path in [given] if isinstance(given, str) else given or ():
            yield str(path)


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        with file.open("rb") as stream:
            whole.update(f"{file.relative_to(path)} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
