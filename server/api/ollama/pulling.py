"""A pull as the lines of Ollama's stream."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ...models.progress import Phase, Progress
from .answer import encode

SUCCESS = {"status": "success"}
WORDS: dict[Phase, str] = {
    "waiting": "waiting for another pull of",
    "downloading": "pulling",
    "copying": "copying",
    "verifying": "verifying",
    "joining": "joining",
    "converting": "converting",
    "measuring": "measuring quality of",
}


def line_of(progress: Progress | str) -> dict[str, Any]:
    """Clients tell downloads apart by `digest`; a file's hash is known only when it is here, so it is its name."""
    if isinstance(progress, str):
        return {"status": progress}
    line = {"status": f"{WORDS[progress.phase]} {progress.file}", "digest": progress.file, "completed": progress.done}
    return line if progress.total is None else line | {"total": progress.total}


async def stream(steps: AsyncGenerator[Progress | str]) -> AsyncGenerator[bytes]:
    """The lines as they come. A failure before the first step is an HTTP status."""
    async with aclosing(steps):
        async for progress in steps:
            yield encode(line_of(progress))
    yield encode(SUCCESS)


async def whole(steps: AsyncGenerator[Progress | str]) -> dict[str, Any]:
    """The last word alone."""
    async with aclosing(steps):
        async for _ in steps:
            pass
    return dict(SUCCESS)
