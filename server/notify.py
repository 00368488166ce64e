"""What a service manager is told: ready, alive, stopping. The protocol is that of sd_notify(3): a datagram each.

Does nothing where no manager asked, as on Windows and macOS.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .environment import Supervision

log = logging.getLogger(__name__)

READY, ALIVE, STOPPING = b"READY=1", b"WATCHDOG=1", b"STOPPING=1"
PINGS_A_PERIOD = 3  # one may be late without the manager ending the server


@asynccontextmanager
async def supervised(supervision: Supervision) -> AsyncIterator[None]:
    """Tell the manager that the server is ready, lives for as long as the event loop answers, and stops."""
    if not supervision.address:
        yield
        return
    tell(supervision.address, READY)
    pings = asyncio.create_task(_ping(supervision)) if supervision.watchdog_seconds else None
    try:
        yield
    finally:
        tell(supervision.address, STOPPING)
        if pings is not None:
            pings.cancel()
            await asyncio.wait([pings])


async def _ping(supervision: Supervision) -> None:
    """A coroutine of the loop that serves: when that hangs, so does this, and the manager starts the server again."""
    while True:
        tell(supervision.address, ALIVE)
        await asyncio.sleep(supervision.watchdog_seconds / PINGS_A_PERIOD)


def tell(address: str, message: bytes) -> None:
    """Send one message, without waiting. A manager that cannot be reached is named in the log and harms nobody."""
    if sys.platform == "win32":
        return
    # A leading @ stands for the zero byte of Linux's abstract names.
    place = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(message, place)
        except OSError as error:
            log.warning("The service manager at %s was not told %s: %s", address, message.decode(), error)
