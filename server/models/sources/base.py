"""What every kind of source offers: a listing, and byte streams that can start in the middle."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ..lineage import Record
from ..progress import Phase


@dataclass(frozen=True)
class Part:
    """One thing that is fetched whole: a file, or a wheel of which `member` is wanted.

    Whichever hash is known is checked; `git_sha1` is what a git host knows of a file that is not in LFS: the hash of
    `blob <size>\\0` and the content.
    """

    url: str
    label: str  # what a person calls it
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    member: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file of an artifact: its parts, joined in order."""

    name: str  # relative to the artifact's folder, forward slashes
    parts: tuple[Part, ...]
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of an artifact, pinned to a commit where the source has such a thing.

    `record`: what stands beside them about how they came to be, which is no file of the artifact.
    """

    files: tuple[RemoteFile, ...]
    commit: str | None = None
    record: Record | None = None


@dataclass(frozen=True)
class ByteStream:
    """The body of a part from `start` on. `start` is the offset asked for, or 0 where that could not be had."""

    start: int
    total: int | None  # length of the whole part
    etag: str | None  # strong validator, good for resuming
    chunks: Iterator[bytes]
    phase: Phase = "downloading"  # what a person calls it


class Origin(Protocol):
    """A source that is ready to be asked. Raises SourceError and its kinds; SourceUnreachable is worth a retry."""

    def list_files(self) -> Listing:
        """What to fetch. May use the network."""
        ...

    def open(self, part: Part, offset: int, etag: str | None) -> AbstractContextManager[ByteStream]:
        """Stream a part from `offset`. With `etag`, from 0 if the part is no longer what it was under that etag."""
        ...
