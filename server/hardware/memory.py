"""Main memory: what the system has, and what its control groups leave of it. Bytes."""

from pathlib import Path

import msgspec
import psutil

from .cgroup import folders, read_text
from .types import Memory

# Version 1 says "no limit" with the largest number of whole pages, which depends on the size of a page.
NO_LIMIT = 1 << 62
V2_LIMITS = ("memory.max", "memory.high")  # past `high` a process is not killed, but slowed down to a crawl


class Bound(msgspec.Struct, frozen=True):
    """One level of a hierarchy that has a limit."""

    limit: int
    used: int

    @property
    def room(self) -> int:
        return max(0, self.limit - self.used)


def parse_size(text: str) -> int | None:
    """A file with one number. None for "max", for version 1's way to say so, and for anything else."""
    number = text.strip()
    if not (number.isascii() and number.isdigit()) or len(number) > 20:
        return None
    size = int(number)
    return size if size < NO_LIMIT else None


def parse_reclaimable(text: str) -> int:
    """Bytes of `memory.stat` that the kernel takes back before anything is killed: file pages not used of late.

    Page cache counts as used memory of a group, so that a group which has read a large file always looks full. What is
    left without `inactive_file` is the working set that Kubernetes judges by (`total_` in version 1: with children).
    """
    found = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    return parse_size(found.get("total_inactive_file", found.get("inactive_file", ""))) or 0


def read(root: Path = Path("/")) -> Memory:
    """The memory of this device, now. `root`: where /proc and /sys are."""
    system = psutil.virtual_memory()
    bounds = [bound for folder in folders("memory", root) for bound in _bounds(folder)]
    return Memory(
        total=system.total,
        available=system.available,
        limit=min((bound.limit for bound in bounds), default=None),
        usable=min([system.available, *(bound.room for bound in bounds)]),
    )


def usable_bytes(root: Path = Path("/")) -> int:
    """What a new process may take now."""
    return read(root).usable


def _bounds(folder: Path) -> list[Bound]:
    limits = [parse_size(read_text(folder / name)) for name in (*V2_LIMITS, "memory.limit_in_bytes")]
    found = [limit for limit in limits if limit is not None]
    if not found:
        return []
    current = read_text(folder / "memory.current") or read_text(folder / "memory.usage_in_bytes")
    used = (parse_size(current) or 0) - parse_reclaimable(read_text(folder / "memory.stat"))
    return [Bound(limit, max(0, used)) for limit in found]
