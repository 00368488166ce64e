"""Several requests of one client at a time, merged into one stream of deltas."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice

import msgspec

from ..pool.resident import Resident
from ..types import Delta, Request

Streams = dict["asyncio.Future[Delta]", tuple[int, AsyncGenerator[Delta]]]


async def generate_all(resident: Resident, requests: list[Request]) -> AsyncGenerator[Delta]:
    """Deltas of all requests as they come; `index` counts the continuations of all, those of the first one first.

    No more of them run at once than the model has slots, so that others need not wait for a whole batch. An error of
    one ends all.
    """
    if len(requests) == 1:
        async with aclosing(resident.generate(requests[0])) as stream:
            async for delta in stream:
                yield delta
        return
    at_once = max(resident.info.slots // max(request.n for request in requests), 1)
    left = _begun(resident, requests)
    pending: Streams = {}  # the next delta of each request that runs, with the number of its first continuation
    try:
        while True:
            for first, stream in islice(left, at_once - len(pending)):
                pending[asyncio.ensure_future(anext(stream))] = first, stream
            if not pending:
                return
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                first, stream = pending.pop(future)
                try:
                    delta = future.result()
                except StopAsyncIteration:
                    continue
                pending[asyncio.ensure_future(anext(stream))] = first, stream
                yield msgspec.structs.replace(delta, index=first + delta.index)
    finally:
        await _end(pending)


def _begun(resident: Resident, requests: list[Request]) -> Iterator[tuple[int, AsyncGenerator[Delta]]]:
    """The stream of each request, begun when it is asked for, with the number of its first continuation."""
    first = 0
    for request in requests:
        yield first, resident.generate(request)
        first += request.n


async def _end(pending: Streams) -> None:
    """Cancel what still runs."""
    for future in pending:
        future.cancel()
    if pending:
        await asyncio.wait(pending)
    for future, (_, stream) in pending.items():
        if not future.cancelled():
            future.exception()  # taken, so that nobody is told of it
        await stream.aclose()
