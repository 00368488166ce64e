"""The program named `foundry` on PATH: put there, taken away, and never in the place of another one."""

import shlex
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InvalidValue, StorageFailed

MARK = "cupola foundry-shim"
NAME = "foundry"


@dataclass(frozen=True, slots=True)
class Launcher:
    """What is in a folder under the name, and what a shell would run by that name."""

    path: Path
    state: Literal["absent", "ours", "foreign"]
    on_path: Path | None

    @property
    def found(self) -> bool:
        """Whether this launcher is what runs."""
        return self.state == "ours" and self.on_path == self.path


def folder_of(asked: Path | None) -> Path:
    """Where the launcher goes: beside `cupola`, which is on PATH when people call it; else the user's own programs."""
    if asked is not None:
        return asked.expanduser().absolute()
    beside = shutil.which("cupola")
    return Path(beside).parent if beside else Path.home() / ".local" / "bin"


def look(folder: Path) -> Launcher:
    """What is there now."""
    path = folder / (f"{NAME}.exe" if sys.platform == "win32" else NAME)
    found = shutil.which(NAME)
    if not path.exists() and not path.is_symlink():
        state: Literal["absent", "ours", "foreign"] = "absent"
    else:
        state = "ours" if _is_ours(path) else "foreign"
    return Launcher(path, state, Path(found) if found else None)


def install(folder: Path) -> Launcher:
    """Put the launcher there. Raises InvalidValue where another program has the name, here or elsewhere on PATH."""
    before = look(folder)
    if before.state == "foreign":
        raise InvalidValue(f"{before.path} is another program; it stays. Choose another folder with --dir.")
    if before.on_path is not None and before.on_path != before.path and not _is_ours(before.on_path):
        raise InvalidValue(f"{before.on_path} is another program of that name, perhaps Foundry Local itself; it stays.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = before.path.with_name(f".{NAME}.new")
        fresh.write_bytes(_content())
        fresh.chmod(fresh.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        fresh.replace(before.path)
    except OSError as error:
        raise StorageFailed(
            f"Cannot write {before.path}: {error.strerror}. Choose another folder with --dir."
        ) from None
    return look(folder)


def uninstall(folder: Path) -> bool:
    """Take it away; False where there is none. Raises InvalidValue where another program has the name."""
    before = look(folder)
    if before.state == "foreign":
        raise InvalidValue(f"{before.path} is another program; it stays.")
    if before.state == "absent":
        return False
    try:
        before.path.unlink()
    except OSError as error:
        raise StorageFailed(f"Cannot delete {before.path}: {error.strerror}.") from None
    return True


def _content() -> bytes:
    """A script; on Windows, where only an .exe is found by every program, a copy of cupola.exe, which looks how it was
    called."""
    if sys.platform == "win32":
        original = shutil.which("cupola")
        if original is None:
            raise InvalidValue("cupola.exe is not on PATH, and the launcher is a copy of it.")
        return Path(original).read_bytes()
    # -P: no file of the folder that it is called in may take the place of a module.
    return f'#!/bin/sh\n# Made by: {MARK} install\nexec {shlex.quote(sys.executable)} -P -m server.shim "$@"\n'.encode()


def _is_ours(path: Path) -> bool:
    """Whether we made it. A copy of an older cupola.exe is still ours: both end with the same archive."""
    mark = b"server.cli" if sys.platform == "win32" else MARK.encode()
    try:
        return mark in path.read_bytes()
    except OSError:
        return False
