"""Responses that are made while nobody waits: whatever happens, their end is kept."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from server.api.conversation import Turn
from server.api.responses.background import Background
from server.api.responses.exchange import Exchange
from server.api.responses.store import ResponseStore
from server.chat.events import Text
from server.errors import QueueFull, WorkerDied

from .responding import USAGE, draft


async def _turns(error: Exception | None = None) -> AsyncGenerator[Turn]:
    yield Turn(0, [Text("Half")])
    if error is not None:
        raise error
    yield Turn(0, [], finish="stop", usage=USAGE)


def _exchange(name: str) -> Exchange:
    return Exchange(conversation=None, items=[], sent=0, draft=draft(id=name, background=True))  # type: ignore[arg-type]


def test_every_end_of_a_background_task_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Also that of a task which never took a step, and of one that met what nobody foresaw."""

    async def run() -> dict[str, Any]:
        store = ResponseStore(9, 10**6)
        background = Background(store, 4)
        background.start(_exchange("done"), _turns())
        background.start(_exchange("died"), _turns(WorkerDied("Gone.")))
        background.start(_exchange("bug"), _turns(ZeroDivisionError()))
        background.start(_exchange("never"), _turns())
        with pytest.raises(QueueFull):
            background.admit()
        await background.cancel("never")
        await background.cancel("unknown")
        for name in ("done", "died", "bug"):
            if running := background.find(name):
                await asyncio.wait([running.task])
        background.start(_exchange("late"), _turns())
        await background.close()
        return {name: store.get(name).body() for name in ("done", "died", "bug", "never", "late")}

    ended = asyncio.run(run())
    assert {name: body.status for name, body in ended.items()} == {
        "done": "completed",
        "died": "failed",
        "bug": "failed",
        "never": "cancelled",
        "late": "cancelled",
    }
    assert ended["died"].error.message == "Gone."
    assert "unforeseen" in ended["bug"].error.message
    assert "ZeroDivisionError" in caplog.text
