"""API keys: who may do what. The file holds hashes only, and is read again when it changes.

A key is 256 bits of the system's random source, so one plain SHA-256 keeps it: a slow, salted hash is for passwords, of
which people choose few and alike, and here there is nothing to try. It would also cost every request its milliseconds.
"""

import hashlib
import hmac
import logging
import os
import secrets
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from ..errors import ConfigError
from ..settings import Settings

log = logging.getLogger(__name__)

Scope = Literal["infer", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Stamp = tuple[int, int, int]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key as the file has it."""

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...]
    created: datetime | None = None


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...] = ()


def new_secret() -> str:
    """A key as its owner gets it, once."""
    return f"cupola_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> KeyFile:
    """What the file has; nothing where there is none. Raises ConfigError that names it."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # who opens a pipe waits for its writer
            raise ConfigError(f"{path} is not a file, so there are no keys in it. See: cupola key --help")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except FileNotFoundError:
        return KeyFile()
    except OSError as error:
        raise ConfigError(f"The keys in {path} cannot be read: {error.strerror}.") from None
    if sys.platform != "win32" and mode & 0o002:
        raise ConfigError(f"Anybody on this machine can write keys into {path}. Mend it with: chmod 600 {path}")
    try:
        found = msgspec.json.decode(content, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not a file of keys: {error}. See: cupola key --help") from None
    names = [key.name for key in found.keys]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{path} has two keys of the name {twice!r}; every key needs a name of its own.")
    return found


class KeyRing:
    """The keys that open this server: those of the file, and the one of the settings.

    Once there is a file or a key, the server asks for one until it ends: neither an emptied file nor one that is gone
    or broken opens it. The event loop owns this.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for a file that is broken, or that was named and is not there."""
        self._path = settings.keys_path
        if settings.keys_file is not None and not self._path.exists():
            raise ConfigError(f"There is no file of keys at {self._path}. Make one with: cupola key create NAME")
        self._fixed = (
            (Key("CUPOLA_API_KEY", hash_of(settings.api_key.get_secret_value()), SCOPES),) if settings.api_key else ()
        )
        self._stamp = _stamp(self._path)
        self._keys = self._fixed + read_keys(self._path).keys
        self._guarded = bool(self._fixed) or self._stamp is not None

    @property
    def guarded(self) -> bool:
        """Whether requests need a key."""
        self._refresh()
        return self._guarded

    @property
    def usable(self) -> bool:
        """Whether there is a key at all."""
        return bool(self._keys)

    def known(self, presented: Iterable[str]) -> list[Key]:
        """The keys among those that a request has."""
        self._refresh()
        return [key for secret in presented for key in self._matching(hash_of(secret))]

    def _matching(self, digest: str) -> list[Key]:
        """Every key is compared, in a time that says nothing about where a difference lies."""
        return [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]

    def _refresh(self) -> None:
        """Read the file again if it is another one than before: a key that was revoked must not open the next door."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        if stamp is None:
            log.warning("%s is gone; its keys stay valid until this server ends", self._path)
            return
        self._guarded = True
        try:
            self._keys = self._fixed + read_keys(self._path).keys
        except ConfigError as error:
            log.warning("the keys stay as they were: %s", error.message)
        else:
            log.info("%s has changed; %d keys are valid now", self._path, len(self._keys))


def _stamp(path: Path) -> Stamp | None:
    """What tells one version of a file from another; None where there is none, or none that can be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
