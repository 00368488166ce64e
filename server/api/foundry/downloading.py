"""A pull as the text that Foundry Local's clients read: lines of progress, a mark of the end, one JSON object.

    Total 45.67% Downloading model.gguf
    [DONE] All Completed!
    {"success":true,"errorMessage":null}

Python's client takes a line that begins with `{` for the end, and C#'s wants `Total`, `Downloading` and the mark.
JavaScript's looks only at the beginning of what it reads at once, so the end comes a moment after the rest. A failure
has `error` too, which is where that one looks.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from ...errors import CupolaError
from ...models.progress import Progress
from ..error_shapes import foundry_download
from ..errors import error_response
from ..sse import Dialect

MEDIA_TYPE = "text/plain"
MARK = "[DONE] All Completed!"
APART_SECONDS = 0.2  # by then a client has read what was written before
COUNTED = frozenset({"waiting", "downloading", "copying"})  # what brings bytes; the rest goes over them again


class Gauge:
    """How far a whole pull is, of files that become known one by one. `expected` are the bytes of all of them."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._files: dict[str, tuple[int, int]] = {}
        self._highest = 0.0

    def percent(self, progress: Progress) -> float:
        """It never falls, and 100 comes with the end."""
        if progress.phase in COUNTED:
            self._files[progress.file] = (progress.done, progress.total or progress.done)
        done, total = map(sum, zip(*self._files.values(), strict=True)) if self._files else (0, 0)
        self._highest = max(self._highest, 100 * done / max(total, self._expected, 1))
        return min(self._highest, 99.99)


def line(percent: float, file: str) -> bytes:
    """One step. The word is what C#'s client looks for, in every phase."""
    return f"Total {percent:.2f}% Downloading {file}\n".encode()


async def stream(steps: AsyncGenerator[Progress | str], name: str, expected: int) -> AsyncGenerator[bytes]:
    """The text as it comes. A failure before the first step is raised, and so an HTTP status."""
    gauge, last = Gauge(expected), b""
    result: dict[str, object] = {"success": True, "errorMessage": None}
    try:
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Progress):
                    name = step.file
                    yield (last := line(gauge.percent(step), name))
        yield line(100, name) + f"{MARK}\n".encode()
    except CupolaError as error:
        if not last:
            raise
        result = {"success": False, "errorMessage": error.message, "error": error.message}
    await asyncio.sleep(APART_SECONDS)
    yield msgspec.json.encode(result)


DIALECT = Dialect(media_type=MEDIA_TYPE, end=b"", refusal=lambda error: error_response(error, foundry_download))
