"""What the files of an unfinished download are, so that the next pull can go on with them."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from .files import write_atomically
from .sources.base import Part


class PartEntry(BaseModel):
    """Which bytes a partial file is a beginning of."""

    model_config = ConfigDict(frozen=True)

    url: str
    size: int | None
    sha256: str | None
    git_sha1: str | None
    etag: str | None = None

    @classmethod
    def of(cls, part: Part) -> Self:
        return cls(url=part.url, size=part.size, sha256=part.sha256, git_sha1=part.git_sha1)

    def resumable(self, part: Part) -> bool:
        """Whether the partial file may be continued with bytes of `part`. A hash, which is checked at the end, lets
        another address go on where one broke off; without one it takes the same address and an etag to ask with."""
        if part.sha256 or part.git_sha1:
            return (self.sha256, self.git_sha1) == (part.sha256, part.git_sha1)
        return self.url == part.url and self.etag is not None


class JoinEntry(BaseModel):
    """How many parts a joined file has, and the length up to which it is good."""

    model_config = ConfigDict(frozen=True)

    parts: int
    length: int


class _Record(BaseModel):
    parts: dict[str, PartEntry] = {}
    joins: dict[str, JoinEntry] = {}


class Journal:
    """The record beside the partial files of one pull. Owned by whoever holds the pull's lock."""

    def __init__(self, folder: Path) -> None:
        """A missing or damaged record is an empty one: what it described is fetched again."""
        self.folder = folder
        self._path = folder / "journal.json"
        try:
            self._record = _Record.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            self._record = _Record()

    def part(self, name: str) -> PartEntry | None:
        """What is known of the partial file `name`."""
        return self._record.parts.get(name)

    def note_part(self, name: str, entry: PartEntry) -> None:
        """Write down what `name` is, before its first byte arrives."""
        if self.part(name) != entry:
            self._record.parts[name] = entry
            self._save()

    def join(self, name: str) -> JoinEntry:
        """How far the joined file `name` is."""
        return self._record.joins.get(name, JoinEntry(parts=0, length=0))

    def note_join(self, name: str, entry: JoinEntry) -> None:
        """Write down that `name` is good up to a length, after those bytes are on the disk."""
        self._record.joins[name] = entry
        self._save()

    def forget(self, name: str) -> None:
        """Remove a partial file and what was known of it."""
        (self.folder / name).unlink(missing_ok=True)
        self._record.parts.pop(name, None)
        self._record.joins.pop(name, None)
        self._save()

    def _save(self) -> None:
        write_atomically(self._path, self._record.model_dump_json(indent=1))
