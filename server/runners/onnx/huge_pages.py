"""Weights in huge pages: on Linux, where the system leaves it to programs (transparent_hugepage: madvise, the default).

A decode step reads every weight once, so it misses the translation buffer at every page of 4 KB: with pages of 2 MB a
step of one sequence is about a sixth faster. ONNX Runtime does not ask for them. See docs/performance.md.
Sources: madvise(2); Documentation/admin-guide/mm/transhuge.rst of the Linux kernel; proc_pid_maps(5).
"""

import ctypes
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MAPS = Path("/proc/self/maps")
PAGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # the second needs Linux 6.1; on an older one the kernel does it by and by
PATIENCE = 5.0  # seconds that moving may take; the rest of a very large model is left to the kernel
SLICE = 32 * PAGE

Span = tuple[int, int]  # addresses, from and to


@contextmanager
def weights_in_huge_pages(setting: Path = SETTING) -> Iterator[None]:
    """Ask for huge pages for the memory that the block takes and keeps. Where there are none, nothing changes."""
    if sys.platform != "linux" or not MAPS.is_file() or not setting.is_file() or "[never]" in setting.read_text():
        yield
        return
    before = private_memory(MAPS.read_text())
    yield
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    deadline = time.monotonic() + PATIENCE
    for start, end in whole_pages(taken(before, private_memory(MAPS.read_text()))):
        advise(start, end - start, MADV_HUGEPAGE)
        for at in range(start, end, SLICE):
            if time.monotonic() < deadline:
                advise(at, min(SLICE, end - at), MADV_COLLAPSE)


def private_memory(maps: str) -> list[Span]:
    """Memory of no file that may be written, as /proc/self/maps lists it, in order of addresses."""
    line = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\])?$", re.MULTILINE)
    return [(int(start, 16), int(end, 16)) for start, end in line.findall(maps)]


def taken(before: list[Span], after: list[Span]) -> list[Span]:
    """The parts of `after` that are not in `before`; both are in order."""
    found = []
    for start, end in after:
        at = start
        for old_start, old_end in before:
            if at < old_end and old_start < end:
                found.append((at, max(at, old_start)))
                at = old_end
        found.append((at, max(at, end)))
    return [(start, end) for start, end in found if start < end]


def whole_pages(spans: list[Span]) -> list[Span]:
    """What of each consists of whole huge pages."""
    inner = [(-(-start // PAGE) * PAGE, end // PAGE * PAGE) for start, end in spans]
    return [(start, end) for start, end in inner if start < end]
