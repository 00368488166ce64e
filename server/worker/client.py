"""The server's end of a worker: starts it, hands requests in and deltas out, and tells every waiter when it dies."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from ..child.process import ChildGone, ChildProcess
from ..errors import CupolaError, InvalidValue, LoadFailed, WorkerDied
from ..types import Delta, Request, sequence_id
from .messages import (
    Cancel,
    Detokenise,
    Encode,
    Encoded,
    EncodeFailed,
    Failure,
    FromWorker,
    Load,
    LoadError,
    Loading,
    Ready,
    ReleaseCache,
    SetSpin,
    StepDone,
    Submit,
    Text,
    Tokenise,
    Tokens,
    TokensRefused,
)

log = logging.getLogger(__name__)

OnStep = Callable[[StepDone], None]
OnDeath = Callable[[], None]
Answer = Tokens | Text | Encoded


@dataclass(slots=True)
class Mailbox:
    """What a request has got and its reader has not taken. Deltas merge, so a slow reader costs no memory a step."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    deltas: dict[int, Delta] = field(default_factory=dict)  # by continuation
    error: CupolaError | None = None

    def put(self, delta: Delta) -> None:
        earlier = self.deltas.get(delta.index)
        self.deltas[delta.index] = earlier.merged(delta) if earlier else delta
        self.arrived.set()

    def fail(self, error: CupolaError) -> None:
        self.error = error
        self.arrived.set()

    async def take(self) -> Delta:
        """The next delta. What was generated before an error is delivered before it."""
        await self.arrived.wait()
        if not self.deltas:
            assert self.error is not None
            raise self.error
        delta = self.deltas.pop(next(iter(self.deltas)))
        if not self.deltas and self.error is None:
            self.arrived.clear()
        return delta


class Worker:
    """One worker process. `load` once, then `generate` any number of requests at a time; `close` ends it."""

    def __init__(self, child: ChildProcess[FromWorker], on_step: OnStep, on_death: OnDeath) -> None:
        self._child = child
        self._on_step, self._on_death = on_step, on_death
        self._mailboxes: dict[str, Mailbox] = {}  # by sequence
        self._questions: dict[str, asyncio.Future[Answer]] = {}
        self._death: str | None = None  # what to tell those who wait
        self._end = ""
        self._closing = False
        self.progress = 0.0

    @classmethod
    async def start(
        cls, name: str, on_step: OnStep = lambda _: None, on_death: OnDeath = lambda: None, *, spin: bool = True
    ) -> "Worker":
        """Start the process; it knows no model yet. `spin`: whether its idle threads may burn a core.

        `on_death` is told when it ends, after its load and without having been asked to.
        """
        child = await ChildProcess[FromWorker].start(
            "server.worker.main",
            FromWorker,  # type: ignore[arg-type]  # a union of message types
            name=name,
            # OpenMP, which llama.cpp computes with, is told here or never.
            variables={} if spin else {"OMP_WAIT_POLICY": "passive"},
        )
        return cls(child, on_step, on_death)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._death is None and self._child.alive

    @property
    def death(self) -> str:
        """How it ended: "killed by SIGKILL", "exit status 3", or "protocol" where it spoke nonsense."""
        return self._end if self._end.startswith(("killed", "exit")) else "protocol"

    @property
    def users(self) -> int:
        """Sequences that have not got their last delta."""
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
        """Deltas of a request until each continuation has had the one with `finish`.

        Leaving early, however it comes, cancels the request.
        """
        if self._death is not None:
            raise WorkerDied(self._death)
        mailbox = Mailbox()
        names = [sequence_id(request.id, index) for index in range(request.n)]
        self._mailboxes |= dict.fromkeys(names, mailbox)
        self._child.send(Submit(request))
        unfinished = request.n
        try:
            while unfinished:
                delta = await mailbox.take()
                unfinished -= delta.finish is not None
                yield delta
        except CupolaError:
            unfinished = request.n - 1  # the others may go on
            raise
        finally:
            for name in names:
                self._mailboxes.pop(name, None)
            if unfinished:
                self._child.send(Cancel(request.id))

    async def tokenise(self, text: str, *, special: bool, leading: bool = True, pieces: bool = False) -> Tokens:
        """Token ids of a text. Raises InvalidValue for text that the tokenizer cannot read."""
        answer = await self._ask(Tokenise(secrets.token_hex(8), text, special, leading, pieces))
        assert isinstance(answer, Tokens)
        return answer

    async def detokenise(self, tokens: list[int]) -> str:
        """The text of token ids. Raises InvalidValue for ids that the model does not have."""
        answer = await self._ask(Detokenise(secrets.token_hex(8), tokens))
        assert isinstance(answer, Text)
        return answer.text

    async def encode(
        self, inputs: list[str | list[int]], limit: int | None = None, *, ranking: bool = False
    ) -> Encoded:
        """Vectors of texts or token ids; see `Encode`. Leaving early cancels it.

        Raises InvalidValue, ContextLengthExceeded, EngineFailed and WorkerDied.
        """
        order = Encode(secrets.token_hex(8), inputs, limit, ranking)
        try:
            answer = await self._ask(order)
        except asyncio.CancelledError:
            self._child.send(Cancel(order.id))
            raise
        assert isinstance(answer, Encoded)
        return answer

    async def _ask(self, question: Tokenise | Detokenise | Encode) -> Answer:
        if self._death is not None:
            raise WorkerDied(self._death)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[question.id] = future
        self._child.send(question)
        try:
            return await future
        finally:
            del self._questions[question.id]

    def release_cache(self) -> None:
        """Give the KV memory back, unless a request comes meanwhile."""
        self._child.send(ReleaseCache())

    def set_spin(self, spin: bool) -> None:
        """Whether idle threads burn a core from now on."""
        self._child.send(SetSpin(spin))

    def kill(self) -> None:
        """End the process at once; every waiter is told."""
        self._child.kill()

    async def close(self) -> None:
        """End the process and wait until it is gone."""
        self._closing = True
        await self._child.close()

    def _receive(self, message: FromWorker) -> None:
        match message:
            case StepDone():
                self._deliver(message)
            case Tokens() | Text() | Encoded() if question := self._waiting(message.id):
                question.set_result(message)
            case TokensRefused() if question := self._waiting(message.id):
                question.set_exception(InvalidValue(message.message))
            case EncodeFailed() if question := self._waiting(message.id):
                question.set_exception(_error_of(message.failure))

    def _mourn(self, gone: ChildGone) -> None:
        """The worker is gone: everybody who waits gets an error."""
        self._end = gone.reason
        self._death = f"The engine ended during the request ({gone.reason}). Try again."
        log.log(logging.DEBUG if self._closing else logging.WARNING, "%s: %s", self._child.name, gone.reason)
        for mailbox in self._mailboxes.values():
            mailbox.fail(WorkerDied(self._death))
        for question in list(self._questions.values()):
            if not question.done():
                question.set_exception(WorkerDied(self._death))
        if not self._closing:
            self._on_death()

    def _waiting(self, question_id: str) -> "asyncio.Future[Answer] | None":
        question = self._questions.get(question_id)
        return question if question and not question.done() else None

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
