"""The peak of what a tree of processes holds in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

INTERVAL = 0.1  # seconds between two looks


class Peak:
    """Bytes; 0 until the first look."""

    value = 0

    def look(self, pid: int) -> None:
        """Resident bytes of a process and its children now, if they are more than ever. Shared pages count twice."""
        held = 0
        try:
            top = psutil.Process(pid)
            family = [top, *top.children(recursive=True)]
        except psutil.Error:
            return
        for process in family:
            try:
                held += process.memory_info().rss
            except psutil.Error:  # it has ended
                continue
        self.value = max(self.value, held)


@contextmanager
def watching(pid: int) -> Iterator[Peak]:
    """The peak while the block lasts."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            peak.look(pid)
            ended.wait(INTERVAL)

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.look(pid)
        ended.set()
        thread.join()
