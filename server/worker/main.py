"""The worker process: `python -P -m server.worker.main`. Loads one model, then runs it until the pipe closes.

The main thread owns the engine, or the encoder, and alone writes to the pipe. The threads of `intake`, or those of
`encoding`, make commands for it of what comes through the pipe.
"""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from ..child.channel import ChildChannel
from ..engine.engine import Engine, StepResult
from ..errors import CupolaError
from ..runners import load_model
from ..runners.base import Encoder, ModelRunner
from .encoding import EncodingWorker
from .expected import Expect, Expected, Refuse, Reply
from .intake import Arrive, Command, Intake
from .messages import Cancel, Failure, Load, LoadError, Loading, Ready, ReleaseCache, SetSpin, StepDone, ToWorker

PROGRESS_STEP = 0.01


class Worker:
    """The engine's thread: applies commands between steps and sends what each step brought."""

    def __init__(self, channel: ChildChannel[ToWorker], runner: ModelRunner, load: Load) -> None:
        self._channel = channel
        self._commands: SimpleQueue[Command] = SimpleQueue()
        self._engine = Engine(runner, self._deliver, load.prefill_seconds)
        self._intake = Intake(runner, self._commands)
        self._expected = Expected()
        self._told = (0, 0, 0)  # what the last message said of those who run, who wait, and their KV entries

    def run(self, messages: Iterator[ToWorker]) -> None:
        threading.Thread(target=self._intake.run, args=(messages,), name="reader", daemon=True).start()
        busy = False
        while True:
            self._drain(wait=not busy)
            busy = self._engine.step()

    def _drain(self, *, wait: bool) -> None:
        """Apply the commands that are there; when idle, sleep until there is one."""
        try:
            while True:
                self._apply(self._commands.get(block=wait))
                wait = False
        except Empty:
            return

    def _apply(self, command: Command) -> None:
        match command:
            case Expect(request_id):
                self._expected.add(request_id)
            case Cancel(request_id):
                if not self._expected.cancel(request_id):
                    self._engine.cancel(request_id)
            case Refuse(request_id, error):
                if self._expected.arrived(request_id):
                    self._deliver(StepResult(failures={request_id: error}))
            case Arrive(request_id, sequences):
                if self._expected.arrived(request_id):
                    for sequence in sequences:
                        self._engine.add(sequence)
            case Reply() | ReleaseCache() | SetSpin():
                self._obey(command)

    def _obey(self, order: Reply | ReleaseCache | SetSpin) -> None:
        """What is no part of any request's way through the engine."""
        match order:
            case Reply(message):
                self._channel.send(message)
            case ReleaseCache():
                self._engine.release_cache()
            case SetSpin(spin):
                self._engine.set_spin(spin)

    def _deliver(self, result: StepResult) -> None:
        scheduler = self._engine.scheduler
        running, waiting, kv_used = standing = (len(scheduler.running), len(scheduler.waiting), scheduler.kv_used)
        if not (result.deltas or result.failures or result.prefill_tokens) and standing == self._told:
            return
        self._told = standing
        self._channel.send(
            StepDone(
                deltas=result.deltas,
                failures={request_id: failure_of(error) for request_id, error in result.failures.items()},
                decode_tokens=result.decode_tokens,
                prefill_tokens=result.prefill_tokens,
                seconds=result.seconds,
                sequences=result.sequences,
                running=running,
                waiting=waiting,
                kv_used=kv_used,
                kv_capacity=scheduler.kv_capacity,
            )
        )


def failure_of(error: CupolaError) -> Failure:
    return Failure(error.code, error.message, error.param)


def _die(failure: threading.ExceptHookArgs) -> None:
    """A thread that ended by a bug would leave requests hanging: end the process, and the server tells every waiter."""
    sys.__excepthook__(failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    os._exit(70)


def main() -> None:
    threading.excepthook = _die
    channel: ChildChannel[ToWorker] = ChildChannel.from_standard_streams(ToWorker)  # type: ignore[arg-type]
    messages = channel.messages()
    load = next(messages, None)
    if not isinstance(load, Load):
        return
    reported = 0.0

    def report(fraction: float) -> None:
        nonlocal reported
        if fraction - reported >= PROGRESS_STEP:
            reported = fraction
            channel.send(Loading(fraction))

    try:
        model = load_model(load.backend, Path(load.artifact) if load.artifact else None, load.placement, report)
    except CupolaError as error:
        channel.send(LoadError(failure_of(error)))
        return
    tokenizer = model.tokenizer
    channel.send(Ready(model.info, tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template))
    if isinstance(model, Encoder):
        EncodingWorker(channel, model).run(messages)
    else:
        Worker(channel, model, load).run(messages)


if __name__ == "__main__":
    main()
