"""From messages of the pipe to commands for the engine's thread.

A reader takes messages off the pipe and prepares what is quick: short prompts, with a grammar only if it was compiled
before. One helper prepares long prompts, and another tries and compiles new grammars, so that neither a step, nor a
cancellation, nor a request that is quick waits for them, nor they for each other. New grammars wait for one another.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from ..engine.arrival import make_sequences
from ..engine.guidance import Guide, Guides
from ..engine.sequence import Sequence
from ..engine.trial import Trials
from ..errors import CupolaError
from ..runners.base import ModelRunner
from ..types import Request
from .expected import LONG_PROMPT, Expect, Refuse, Reply
from .messages import Cancel, Detokenise, ReleaseCache, SetSpin, Submit, Tokenise, ToWorker
from .tokenising import text_of, tokens_of


@dataclass(frozen=True, slots=True)
class Arrive:
    """A request that is ready to run: its continuations."""

    request_id: str
    sequences: list[Sequence]


Command = Arrive | Cancel | Expect | Refuse | Reply | ReleaseCache | SetSpin


class Intake:
    """The reader and its helpers."""

    def __init__(self, runner: ModelRunner, commands: SimpleQueue[Command]) -> None:
        self._runner = runner
        self._commands = commands
        self._guides = Guides(runner.tokenizer, runner.info.vocab_size, Trials())
        self._long: SimpleQueue[tuple[Request, Guide | None] | Tokenise] = SimpleQueue()
        self._guided: SimpleQueue[Request] = SimpleQueue()

    def run(self, messages: Iterator[ToWorker]) -> None:
        """Until the parent closes the pipe or dies; then the process ends, in the middle of a native call too."""
        threading.Thread(target=self._prepare_long, name="prepare", daemon=True).start()
        threading.Thread(target=self._prepare_guided, name="compile", daemon=True).start()
        for message in messages:
            match message:
                case Submit(request):
                    self._submit(request)
                case Cancel() | ReleaseCache() | SetSpin():
                    self._commands.put(message)
                case Tokenise(text=text) if len(text) < LONG_PROMPT:
                    self._tokenise(message)
                case Tokenise():
                    self._long.put(message)
                case Detokenise():
                    self._detokenise(message)
        os._exit(0)

    def _submit(self, request: Request) -> None:
        kept = self._guides.kept(request.grammar) if request.grammar else None
        new = request.grammar is not None and kept is None
        if len(request.prompt) < LONG_PROMPT and not new:
            self._prepare(request, kept)
            return
        self._commands.put(Expect(request.id))
        if new:
            self._guided.put(request)
        else:
            self._long.put((request, kept))

    def _prepare_guided(self) -> None:
        while True:
            self._prepare(self._guided.get())

    def _prepare_long(self) -> None:
        while True:
            item = self._long.get()
            if isinstance(item, Tokenise):
                self._tokenise(item)
            else:
                self._prepare(*item)

    def _prepare(self, request: Request, kept: Guide | None = None) -> None:
        try:
            self._commands.put(Arrive(request.id, make_sequences(request, self._runner, self._guides, kept)))
        except CupolaError as error:
            self._commands.put(Refuse(request.id, error))

    def _tokenise(self, order: Tokenise) -> None:
        self._commands.put(Reply(tokens_of(self._runner.tokenizer, order)))

    def _detokenise(self, order: Detokenise) -> None:
        self._commands.put(Reply(text_of(self._runner.tokenizer, self._runner.info.vocab_size, order)))
