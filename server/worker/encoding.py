"""The worker of a model that makes vectors of text: the texts of all requests that wait share its batches.

The reader takes messages off the pipe; two helpers tokenise, one what is short and one what is long. The main thread
owns the encoder, computes one batch at a time, and looks for cancellations in between. Requests take turns, so a small
one never waits for the whole of a large one. When a batch fails, its requests are computed apart from then on, and only
one that fails by itself has failed.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

from ..child.channel import ChildChannel
from ..errors import ContextLengthExceeded, CupolaError, EngineFailed, InvalidValue
from ..runners.base import Encoder, FloatRows, Tokenizer
from .batching import choose
from .expected import LONG_PROMPT, Expect, Expected, Refuse, Reply
from .messages import (
    WHOLE,
    Cancel,
    Detokenise,
    Encode,
    Encoded,
    EncodeFailed,
    Failure,
    StepDone,
    Tokenise,
    ToWorker,
)
from .tokenising import text_of, tokens_of


@dataclass(slots=True)
class Job:
    """A request that is ready to be computed. `left` are the places of the rows that are still to come."""

    id: str
    rows: list[list[int]]
    left: list[int]
    vectors: FloatRows  # [rows, dimension]
    apart: bool = False  # it was in a batch that failed, and shares no other


Command = Expect | Job | Refuse | Cancel | Reply
Order = Encode | Tokenise | Detokenise


class EncodingWorker:
    """The encoder's thread, its reader and the helpers."""

    def __init__(self, channel: ChildChannel[ToWorker], encoder: Encoder) -> None:
        self._channel = channel
        self._encoder = encoder
        self._commands: SimpleQueue[Command] = SimpleQueue()
        self._short: SimpleQueue[Order] = SimpleQueue()
        self._long: SimpleQueue[Order] = SimpleQueue()
        self._expected = Expected()  # owned by the main thread
        self._jobs: deque[Job] = deque()  # owned by the main thread; the first has the next turn

    def run(self, messages: Iterator[ToWorker]) -> None:
        for name, orders in (("short", self._short), ("long", self._long)):
            threading.Thread(target=self._prepare, args=(orders,), name=name, daemon=True).start()
        threading.Thread(target=self._read, args=(messages,), name="reader", daemon=True).start()
        while True:
            self._drain()
            if self._jobs:
                self._step()

    def _read(self, messages: Iterator[ToWorker]) -> None:
        """Until the parent closes the pipe or dies; then the process ends, in the middle of a native call too."""
        for message in messages:
            match message:
                case Cancel():
                    self._commands.put(message)
                case Encode() | Tokenise() | Detokenise():
                    if isinstance(message, Encode):
                        self._commands.put(Expect(message.id))
                    (self._short if size_of(message) < LONG_PROMPT else self._long).put(message)
        os._exit(0)

    def _prepare(self, orders: SimpleQueue[Order]) -> None:
        tokenizer, size = self._encoder.tokenizer, self._encoder.info.vocab_size
        while True:
            match order := orders.get():
                case Encode():
                    self._commands.put(self._job(order))
                case Tokenise():
                    self._commands.put(Reply(tokens_of(tokenizer, order)))
                case Detokenise():
                    self._commands.put(Reply(text_of(tokenizer, size, order)))

    def _job(self, order: Encode) -> Job | Refuse:
        info = self._encoder.info
        try:
            if not order.inputs:
                raise InvalidValue("There is no input.", param="input")
            rows = [row_of(order, place, self._encoder) for place in range(len(order.inputs))]
        except CupolaError as error:
            return Refuse(order.id, error)
        return Job(order.id, rows, list(range(len(rows))), np.empty((len(rows), info.dimension), np.float32))

    def _drain(self) -> None:
        """Apply the commands that are there; when idle, sleep until there is one."""
        try:
            while True:
                self._apply(self._commands.get(block=not self._jobs))
        except Empty:
            return

    def _apply(self, command: Command) -> None:
        match command:
            case Expect(request_id):
                self._expected.add(request_id)
            case Job():
                if self._expected.arrived(command.id):
                    self._jobs.append(command)
            case Refuse(request_id, error):
                if self._expected.arrived(request_id):
                    self._fail(request_id, error)
            case Cancel(request_id):
                if not self._expected.cancel(request_id):
                    self._forget(request_id)
            case Reply(message):
                self._channel.send(message)

    def _step(self) -> None:
        """Compute one batch: a row of the request whose turn it is, and what is about as long, whosever it is."""
        waiting = [(job, place) for job in company(self._jobs) for place in job.left]
        lengths = [len(job.rows[place]) for job, place in waiting]
        batch = [waiting[place] for place in choose(0, lengths, self._encoder.info.batch_tokens)]
        self._jobs.rotate(-1)
        rows = [job.rows[place] for job, place in batch]
        began = time.perf_counter()
        try:
            vectors = self._encoder.encode(rows)
        except EngineFailed as error:
            self._blame([job for job, _ in batch], error)
            return
        for (job, place), vector in zip(batch, vectors, strict=True):
            job.vectors[place] = vector
            job.left.remove(place)
        self._channel.send(step_done(rows, time.perf_counter() - began))
        self._finish()

    def _finish(self) -> None:
        """Send off every request that is complete."""
        for job in [job for job in self._jobs if not job.left]:
            self._channel.send(Encoded(job.id, [len(row) for row in job.rows], job.vectors.tobytes()))
        self._jobs = deque(job for job in self._jobs if job.left)

    def _blame(self, jobs: list[Job], error: EngineFailed) -> None:
        """A batch failed: a request that was alone in it is the cause, and of several it is not known yet which."""
        if len({job.id for job in jobs}) == 1:
            self._fail(jobs[0].id, error)
        for job in jobs:
            job.apart = True

    def _fail(self, request_id: str, error: CupolaError) -> None:
        self._channel.send(EncodeFailed(request_id, Failure(error.code, error.message, error.param)))
        self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        self._jobs = deque(job for job in self._jobs if job.id != request_id)


def company(jobs: Sequence[Job]) -> list[Job]:
    """The request whose turn it is, the first, and those that may share a batch with it."""
    first, *others = jobs
    return [first] if first.apart else [first, *(job for job in others if not job.apart)]


def step_done(rows: list[list[int]], seconds: float) -> StepDone:
    """What the metrics say of a batch. Who is running and waiting they know by the requests that are open."""
    return StepDone(sequences=len(rows), prefill_tokens=sum(map(len, rows)), seconds=seconds)


def size_of(order: Order) -> int:
    """Characters and token ids to be read, about."""
    match order:
        case Encode(inputs=inputs):
            return sum(map(len, inputs))
        case Tokenise(text=text):
            return len(text)
        case Detokenise(tokens=tokens):
            return len(tokens)


def row_of(order: Encode, place: int, encoder: Encoder) -> list[int]:
    """The tokens of one input, no more than the model takes. Raises InvalidValue and ContextLengthExceeded."""
    info, tokenizer, text = encoder.info, encoder.tokenizer, order.inputs[place]
    name, field = order.name(place)
    tokens = tokenizer.encode(text, special=True) if isinstance(text, str) else text
    if not tokens:
        raise InvalidValue(f"{name} is empty.", param=field)
    wrong = next((token for token in tokens if not 0 <= token < info.vocab_size), None)
    if wrong is not None:
        raise InvalidValue(f"{name}: the model has no token {wrong}; ids are below {info.vocab_size}.", param=field)
    if order.limit is not None:
        return cut(
            tokens, info.context_length if order.limit == WHOLE else min(order.limit, info.context_length), tokenizer
        )
    if len(tokens) > info.context_length:
        raise ContextLengthExceeded(
            f"This model's context length is {info.context_length} tokens, and {name} has {len(tokens)}."
            f" Shorten it, or cut it with truncate_prompt_tokens: {WHOLE}.",
            param=field,
        )
    return tokens


def cut(tokens: list[int], most: int, tokenizer: Tokenizer) -> list[int]:
    """The first tokens; what the model puts behind a text stays behind it."""
    if len(tokens) > most > 1 and not tokenizer.token_bytes(tokens[-1]):
        return [*tokens[: most - 1], tokens[-1]]
    return tokens[:most]
