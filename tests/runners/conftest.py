"""Small folders, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from . import folders

FolderOf = Callable[[str], Path]
CHANGES = {
    "every": folders.keep_every_position,
    "last": folders.keep_the_last_position,
    "failing": folders.fail_on_some_tokens,
    "adapted": folders.take_an_adapter,
    "adapted by default": folders.take_an_adapter_or_none,
}


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """The small model with a graph of some kind: `asked` positions, `every` or the `last` one, or with adapters."""
    root = tmp_path_factory.mktemp("small")
    made = {"asked": folders.small_folder(root / "asked")}

    def find(kind: str) -> Path:
        if kind not in made:
            made[kind] = folders.changed(made["asked"], root / kind, CHANGES[kind])
        return made[kind]

    return find
