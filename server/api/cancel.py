"""Work for a client ends when the client goes away, streaming or not."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.types import Receive

from .accounting import account

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before it had its answer."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects (then: ClientGone).

    Starlette cancels only what streams; a plain answer would be computed to its end for nobody.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        account().cancel()
        raise ClientGone
    finally:
        task.cancel()
        watcher.cancel()
        await asyncio.wait({task, watcher})  # so that what `work` holds is free when we return


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def install(app: FastAPI) -> None:
    """A response for nobody: 499 is what proxies log for a client that closed its request."""

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)

    app.add_exception_handler(ClientGone, gone)
