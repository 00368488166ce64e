"""Where the limits of this process's control groups stand: version 2, version 1 and both at once.

A limit may be set at any level, so every level counts, from the group itself up to where its hierarchy is mounted.
Formats: Linux manual pages cgroups(7), "/proc files", and proc_pid_mountinfo(5).
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

UNIFIED = ""  # what stands for the controllers of version 2 in /proc/self/cgroup


class Group(msgspec.Struct, frozen=True):
    """A line of /proc/self/cgroup: the group that some controllers have this process in."""

    controllers: frozenset[str]
    path: str


class Mount(msgspec.Struct, frozen=True):
    """A mounted hierarchy. `root` is the group that is seen at `point`; a container often sees only its own."""

    controllers: frozenset[str]
    root: str
    point: str


def parse_groups(text: str) -> list[Group]:
    """/proc/self/cgroup: "4:memory:/docker/ab" or, in version 2, "0::/user.slice"."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    return [Group(frozenset(fields[1].split(",")), fields[2]) for fields in lines if len(fields) == 3]


def parse_mounts(text: str) -> list[Mount]:
    """The control group hierarchies in /proc/self/mountinfo; the last field of a version 1 one names its controllers.

    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
    """
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = kind[2].split(",") if kind[0] == "cgroup" else [UNIFIED]
        mounts.append(Mount(frozenset(controllers), place[3], place[4]))
    return mounts


def folders(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders with this controller's limits, innermost first. None where the system has no control groups."""
    try:
        groups = parse_groups((root / "proc/self/cgroup").read_text())
        mounts = parse_mounts((root / "proc/self/mountinfo").read_text())
    except (OSError, UnicodeDecodeError):
        return
    for group in groups:
        if group.controllers.isdisjoint({controller, UNIFIED}):
            continue
        mount = next((mount for mount in mounts if group.controllers & mount.controllers), None)
        if mount is not None:
            yield from _levels(root / mount.point.lstrip("/"), _below(mount.root, group.path))


def _below(root: str, path: str) -> tuple[str, ...]:
    """The way from a mount to a group. A group outside of what is mounted is represented by the mount itself."""
    try:
        parts = PurePosixPath(path).relative_to(root).parts
    except ValueError:
        return ()
    return () if ".." in parts else parts


def _levels(mount: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def read_text(path: Path) -> str:
    """The text of a file of the kernel; empty where there is none or it may not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
