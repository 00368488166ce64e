"""The server's end of a worker: starts it, hands requests in and deltas out, and tells every waiter when it dies."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from ..child.process import ChildGone, ChildProcess
from ..errors import CupolaError, LoadFailed, WorkerDied
from ..types import Delta, Request
from .messages import Cancel, Failure, FromWorker, Load, LoadError, Loading, Ready, StepDone, Submit

log = logging.getLogger(__name__)

OnStep = Callable[[StepDone], None]


@dataclass(slots=True)
class Mailbox:
    """What a request has got and its reader has not taken. Deltas merge, so a slow reader costs no memory a step."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    delta: Delta | None = None
    error: CupolaError | None = None

    def put(self, delta: Delta) -> None:
        self.delta = self.delta.merged(delta) if self.delta else delta
        self.arrived.set()

    def fail(self, error: CupolaError) -> None:
        self.error = error
        self.arrived.set()

    async def take(self) -> Delta:
        """The next delta. What was generated before an error is delivered before it."""
        await self.arrived.wait()
        delta, self.delta = self.delta, None
        if delta is None:
            assert self.error is not None
            raise self.error
        if self.error is None:
            self.arrived.clear()
        return delta


class Worker:
    """One worker process. `load` once, then `generate` any number of requests at a time; `close` ends it."""

    def __init__(self, child: ChildProcess[FromWorker], on_step: OnStep) -> None:
        self._child = child
        self._on_step = on_step
        self._mailboxes: dict[str, Mailbox] = {}
        self._death: str | None = None  # what to tell those who wait
        self._closing = False
        self.progress = 0.0

    @classmethod
    async def start(cls, name: str, on_step: OnStep = lambda _: None) -> "Worker":
        """Start the process; it knows no model yet."""
        child = await ChildProcess[FromWorker].start(
            "server.worker.main",
            FromWorker,  # type: ignore[arg-type]  # a union of message types
            name=name,
        )
        return cls(child, on_step)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._death is None and self._child.alive

    @property
    def users(self) -> int:
        """Requests that have not got their last delta."""
        return len(self._mailboxes)

    async def load(self, load: Load) -> Ready:
        """Load the model. Raises the error that the worker met, or LoadFailed if it died of it."""
        self._child.send(load)
        try:
            while not isinstance(message := await self._child.receive(), Ready):
                if isinstance(message, Loading):
                    self.progress = message.fraction
                elif isinstance(message, LoadError):
                    raise _error_of(message.failure)
        except ChildGone as gone:
            raise LoadFailed(f"The engine ended while it loaded the model: {gone.reason}.") from None
        self.progress = 1.0
        self._child.listen(self._receive, self._mourn)
        return message

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Deltas of a request until the one with `finish`. Leaving early, however it comes, cancels the request."""
        if self._death is not None:
            raise WorkerDied(self._death)
        mailbox = self._mailboxes[request.id] = Mailbox()
        self._child.send(Submit(request))
        finished = False
        try:
            while not finished:
                delta = await mailbox.take()
                finished = delta.finish is not None
                yield delta
        except CupolaError:
            finished = True
            raise
        finally:
            self._mailboxes.pop(request.id, None)
            if not finished:
                self._child.send(Cancel(request.id))

    def kill(self) -> None:
        """End the process at once; every waiter is told."""
        self._child.kill()

    async def close(self) -> None:
        """End the process and wait until it is gone."""
        self._closing = True
        await self._child.close()

    def _receive(self, message: FromWorker) -> None:
        if isinstance(message, StepDone):
            self._deliver(message)

    def _mourn(self, gone: ChildGone) -> None:
        """The worker is gone: everybody who waits gets an error."""
        self._death = f"The engine ended during the request ({gone.reason}). Try again."
        log.log(logging.DEBUG if self._closing else logging.WARNING, "%s: %s", self._child.name, gone.reason)
        for mailbox in self._mailboxes.values():
            mailbox.fail(WorkerDied(self._death))

    def _deliver(self, step: StepDone) -> None:
        for request_id, delta in step.deltas.items():
            if mailbox := self._mailboxes.get(request_id):
                mailbox.put(delta)
        for request_id, failure in step.failures.items():
            if mailbox := self._mailboxes.get(request_id):
                mailbox.fail(_error_of(failure))
        self._on_step(step)


def _error_of(failure: Failure) -> CupolaError:
    return CupolaError.from_code(failure.code, failure.message, failure.param)
