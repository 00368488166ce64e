"""Waiting for a load that others may wait for too."""

import asyncio
import time

from ..errors import ModelLoading
from .resident import Resident


async def until_loaded(resident: Resident, deadline: float | None) -> None:
    """Return when the model is loaded. `deadline` is on the monotonic clock.

    Raises what the load met, and ModelLoading at the deadline or where the load was given up.
    """
    assert resident.loading is not None
    wait = None if deadline is None else max(0.0, deadline - time.monotonic())
    try:
        # The load goes on when one of those who wait for it leaves.
        await asyncio.wait_for(asyncio.shield(resident.loading), wait)
    except TimeoutError:
        raise ModelLoading(
            f"{resident.spec.name} is loading, {resident.progress:.0%} done. Try again shortly.", retry_after=2
        ) from None
    except asyncio.CancelledError:
        if resident.loading.cancelled() and not _is_cancelled():  # it was unloaded by force, or the server ends
            raise ModelLoading(f"{resident.spec.name} was unloaded while it loaded. Try again.") from None
        raise


def _is_cancelled() -> bool:
    """Whether the running task itself is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
