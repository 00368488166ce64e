"""Room for a load."""

import asyncio

from server.pool.room import all_gone


def test_who_waits_no_longer_for_an_unload_does_not_end_it() -> None:
    async def left() -> bool:
        ended = asyncio.Event()
        unload = asyncio.create_task(_until(ended))
        waiter = asyncio.create_task(all_gone([unload]))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        ended.set()
        await unload
        return waiter.cancelled()

    assert asyncio.run(left())


async def _until(ended: asyncio.Event) -> None:
    await ended.wait()
