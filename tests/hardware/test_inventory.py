"""One reading for all who ask."""

import asyncio
from pathlib import Path

from server.hardware.inventory import Inventory


def test_askers_share_a_reading(tmp_path: Path) -> None:
    async def ask() -> None:
        inventory = Inventory(tmp_path)
        impatient = asyncio.create_task(inventory.system())
        await asyncio.sleep(0)
        others = [asyncio.create_task(inventory.system()) for _ in range(20)]
        impatient.cancel()
        first, *rest = await asyncio.gather(*others)
        assert all(system is first for system in rest)
        assert await inventory.system() is first
        await inventory.close()

    asyncio.run(ask())


def test_closing_waits_for_a_reading(tmp_path: Path) -> None:
    async def ask() -> None:
        inventory = Inventory(tmp_path)
        await inventory.close()
        reading = asyncio.create_task(inventory.system())
        await asyncio.sleep(0)
        await inventory.close()
        assert (await reading).engines

    asyncio.run(ask())
