"""One part, fetched so that it can be interrupted anywhere: resumed, retried, and checked before anyone uses it."""

import hashlib
from pathlib import Path

from ..errors import HashMismatch, SourceUnreachable
from .files import hash_file, require_space
from .journal import Journal, PartEntry
from .patience import Patience
from .progress import Progress, Report
from .sources.base import ByteStream, Origin, Part


class Download:
    """Fetches parts of one origin into the folder of a journal."""

    def __init__(self, origin: Origin, journal: Journal, report: Report, patience: Patience) -> None:
        self._origin = origin
        self._journal = journal
        self._report = report
        self._patience = patience

    def fetch(self, part: Part, name: str) -> tuple[Path, str]:
        """The whole part as the file `name` of the journal's folder, and its sha256.

        Raises HashMismatch, after which nothing of the part is left, or another SourceError, after which what has
        arrived is kept. A partial file that turns out bad costs a second download, not an error.
        """
        path = self._journal.folder / name
        while True:
            known = self._journal.part(name)
            if known is None or not known.resumable(part):
                self._journal.forget(name)
            resumed = path.exists() and path.stat().st_size > 0
            try:
                self._receive(part, name)
                return path, self._verify(part, path)
            except HashMismatch:
                self._journal.forget(name)
                if not resumed:
                    raise

    def _receive(self, part: Part, name: str) -> None:
        path = self._journal.folder / name
        self._patience.retry(lambda: self._append(part, name), lambda: _length(path))

    def _append(self, part: Part, name: str) -> None:
        """One request: the rest of the part, or all of it where the rest alone cannot be had."""
        path = self._journal.folder / name
        known = self._journal.part(name)
        if _length(path) and _length(path) == (part.size if part.size is not None or known is None else known.size):
            return
        # With a hash at hand the etag is not asked for: mirrors and CDNs disagree on etags, not on hashes.
        etag = known.etag if known and not (part.sha256 or part.git_sha1) else None
        with self._origin.open(part, _length(path), etag) as stream:
            total = part.size if part.size is not None else stream.total
            self._journal.note_part(name, PartEntry.of(part).model_copy(update={"etag": stream.etag, "size": total}))
            require_space(path.parent, (total or 0) - stream.start)
            done = self._write(stream, path, part.label, total)
        if total is not None and done < total:
            raise SourceUnreachable(f"{part.label} broke off at {done} of {total} bytes; run the command again.")

    def _write(self, stream: ByteStream, path: Path, label: str, total: int | None) -> int:
        done = stream.start
        path.touch()
        with path.open("r+b") as file:
            file.truncate(done)
            file.seek(done)
            for chunk in stream.chunks:
                done += len(chunk)
                if total is not None and done > total:
                    raise HashMismatch(f"{label} is longer than the {total} bytes that its source promised.")
                file.write(chunk)
                self._report(Progress(label, done, total, stream.phase))
        return done

    def _verify(self, part: Part, path: Path) -> str:
        git = hashlib.sha1(f"blob {_length(path)}\0".encode(), usedforsecurity=False)
        if part.git_sha1 and hash_file(path, git) != part.git_sha1:
            raise mismatch(part.label)
        return verified(path, part.label, part.sha256, self._report)


def verified(path: Path, label: str, sha256: str | None, report: Report) -> str:
    """The sha256 of a file. Raises HashMismatch if it is not the expected one."""
    total = _length(path)
    found = hash_file(path, hashlib.sha256(), lambda done: report(Progress(label, done, total, "verifying")))
    if sha256 is not None and found != sha256:
        raise mismatch(label)
    return found


def mismatch(label: str) -> HashMismatch:
    """The error for bytes that are not the promised ones."""
    return HashMismatch(f"{label} does not have the bytes that were promised (sha256 differs); nothing of it was kept.")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
