"""Lines into the sieve: read, scanned for personal data, measured. What is wrong is written down with its line."""

from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from server.errors import InvalidValue
from server.models.files import hash_file

from ..examples import Example
from ..reporting import Reporter
from .card import Source
from .lengths import Meter
from .order import Order
from .personal import scanned
from .reading import Read, Reader
from .row import Bad
from .sifting import Sieve

BATCH = 512  # lines in memory at once
NAMED = 3  # bad lines in an error


class Rejected(msgspec.Struct, frozen=True):
    """A line of rejected.jsonl. `kind` is what the card counts."""

    file: str
    line: int
    kind: str
    reason: str


class Intake:
    """Takes in files; `rejected` by kind and `personal` by kind are counts."""

    def __init__(self, order: Order, sieve: Sieve, meter: Meter, reporter: Reporter) -> None:
        self.rejected: Counter[str] = Counter()
        self.personal: Counter[str] = Counter()
        self.with_personal = 0
        self.meter = meter
        self._order = order
        self._sieve = sieve
        self._reporter = reporter
        self._reader = Reader(order)
        self._first: list[Rejected] = []

    def run(self, rejected: Path, until: float) -> list[Source]:
        """All files of the order; `until` is how far the whole is then. Raises InvalidValue where too much is bad."""
        given = [
            (path, split)
            for path, split in ((self._order.test, "test"), (self._order.validation, "validation"))
            if path
        ]
        files: list[tuple[Path, str | None]] = [*given, *((path, None) for path in self._order.sources)]
        sizes = [path.stat().st_size if path.is_file() else 0 for path, _ in files]
        whole, before = max(sum(sizes), 1), 0
        sources: list[Source] = []
        with rejected.open("wb") as out:
            for (path, split), size in zip(files, sizes, strict=True):
                lines = self._reader.lines(path)
                count = bad = 0
                while batch := list(islice(lines, BATCH)):
                    count += len(batch)
                    bad += self._batch(batch, path, split, out)
                    done = (before + batch[-1].done * size) / whole
                    self._reporter.step(until * done, f"reading {path.name}", bad=sum(self.rejected.values()))
                before += size
                sources.append(_source(path, split, count, bad))
        self._judge(sum(source.lines for source in sources))
        return sources

    def _batch(self, batch: list[Read], path: Path, split: str | None, out: BinaryIO) -> int:
        """The number of bad lines."""
        good = [read.content for read in batch if not isinstance(read.content, Bad)]
        found = [scanned(example, redact=self._order.redact) for example in good]
        measured = iter(zip(found, self.meter.measure([example for example, _ in found]), strict=True))
        bad = 0
        for read in batch:
            fault = read.content
            if isinstance(fault, Example):
                (example, personal), length = next(measured)
                if not isinstance(length, Bad):
                    self.personal += personal
                    self.with_personal += bool(personal)
                    self._sieve.take(example, read.group, split, length)
                    continue
                fault = length
            bad += 1
            line = Rejected(str(path), read.number, fault.kind, fault.reason)
            self.rejected[fault.kind] += 1
            self._first = [*self._first, line][:NAMED]
            out.write(msgspec.json.encode(line) + b"\n")
        return bad

    def _judge(self, lines: int) -> None:
        bad = sum(self.rejected.values())
        if bad <= self._order.most_bad * lines and bad < lines:
            return
        named = "; ".join(f"{one.file}, line {one.line}: {one.reason}" for one in self._first)
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.rejected.most_common())
        limit = "none is good" if bad == lines else f"--most-bad {self._order.most_bad:g} allows fewer"
        raise InvalidValue(f"{bad} of {lines} lines are bad, and {limit} ({kinds}). The first: {named}.")


def _source(path: Path, split: str | None, lines: int, bad: int) -> Source:
    digest, size = hash_file(path, sha256()), path.stat().st_size
    return Source(file=str(path), split=split or "", sha256=digest, bytes=size, lines=lines, rejected=bad)
