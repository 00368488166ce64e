"""The engine loop: one thread owns the model, and one `step` is one forward pass over whoever has something to run."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import ContextLengthExceeded, CupolaError, EngineFailed, InvalidValue
from ..runners.base import CacheFull, Logits, ModelRunner, Segment, SlotsLost
from ..types import Delta, Request
from .pace import Pace
from .sampler import Sampler
from .scheduler import Chunk, Scheduler, Step
from .sequence import Sequence
from .text import TextStream

MAX_RETRIES = 1  # a sequence whose slot was lost twice is the likely cause


@dataclass(slots=True)
class StepResult:
    """What one step brought, by request."""

    deltas: dict[str, Delta] = field(default_factory=dict)
    failures: dict[str, CupolaError] = field(default_factory=dict)
    decode_tokens: int = 0
    prefill_tokens: int = 0
    seconds: float = 0.0


class Outbox(Protocol):
    """Where results go; called once a step, from the engine's thread."""

    def __call__(self, result: StepResult) -> None: ...


class Engine:
    """Runs sequences on a runner. Not thread-safe: the thread that steps it is its only user."""

    def __init__(self, runner: ModelRunner, outbox: Outbox, prefill_seconds: float) -> None:
        self._runner = runner
        self._outbox = outbox
        self._pace = Pace(prefill_seconds)
        self.scheduler = Scheduler(runner.info)

    def step(self) -> bool:
        """One pass: admit, schedule, forward, sample, deliver. False if there was nothing to do."""
        result = StepResult()
        self._admit()
        step = self._schedule()
        if step.chunks:
            logits = self._forward(step, result)
            if logits is not None:
                self._sample(step.chunks, logits, result)
        self._outbox(result)
        return bool(step.chunks)

    def add(self, sequence: Sequence) -> None:
        self.scheduler.add(sequence)

    def cancel(self, request_id: str) -> None:
        """Forget a request. Its slot is free for the next step; a finished one is no error."""
        sequence = self.scheduler.find(request_id)
        if sequence is not None:
            self.scheduler.remove(sequence)

    def _admit(self) -> None:
        while admission := self.scheduler.admit():
            for slot in admission.emptied:
                self._runner.truncate(slot, 0)
            sequence, seat = admission.sequence, admission.seat
            if seat.source == seat.slot:
                reused = self._runner.truncate(seat.slot, seat.reused)
            else:
                reused = self._runner.copy_prefix(seat.source, seat.slot, seat.reused)
                if not reused:
                    self._runner.truncate(seat.slot, 0)
            sequence.computed = seat.reused if reused else 0
            if not sequence.started:
                sequence.cached = sequence.computed
                sequence.started = True

    def _schedule(self) -> Step:
        step = self.scheduler.schedule(self._pace.prefill_budget(self._runner.info.chunk_tokens))
        for slot in step.emptied:
            self._runner.truncate(slot, 0)
        return step

    def _forward(self, step: Step, result: StepResult) -> Logits | None:
        """Run the chunks; None if the engine could not, after mending what can be mended."""
        began = time.perf_counter()
        try:
            logits = self._runner.forward([_segment(chunk) for chunk in step.chunks])
        except CacheFull:
            self._relieve(step, result)
            return None
        except SlotsLost as lost:
            self._restart(step, lost, result)
            return None
        result.seconds = time.perf_counter() - began
        result.decode_tokens, result.prefill_tokens = step.decode_tokens, step.prefill_tokens
        self._pace.record(step.decode_tokens, step.prefill_tokens, result.seconds)
        for chunk in step.chunks:
            chunk.sequence.computed += chunk.count
        return logits

    def _sample(self, chunks: list[Chunk], logits: Logits, result: StepResult) -> None:
        ready = [chunk.sequence for chunk in chunks if not chunk.sequence.pending]
        greedy = [row for row, sequence in enumerate(ready) if sequence.sampler.greedy]
        tokens = dict(zip(greedy, map(int, logits.argmax(greedy)), strict=True)) if greedy else {}
        for row, sequence in enumerate(ready):
            try:
                token = tokens[row] if row in tokens else sequence.sampler.draw(logits.host([row])[0])
            except EngineFailed as error:
                self._fail(sequence, error, result)
            else:
                self._append(sequence, token, result)

    def _append(self, sequence: Sequence, token: int, result: StepResult) -> None:
        sequence.sampler.accept(token)
        tokenizer = self._runner.tokenizer
        text, finish = sequence.append(token, tokenizer.eos_ids, tokenizer.token_bytes(token))
        usage = sequence.usage if finish else None
        result.deltas[sequence.id] = Delta(text, 1, finish, usage)
        if finish:
            self.scheduler.remove(sequence)

    def _relieve(self, step: Step, result: StepResult) -> None:
        """The cache is fuller than the books say: empty what free slots keep, preempt, or give up the only sequence."""
        slots = self.scheduler.relieve()
        for slot in slots:
            self._runner.truncate(slot, 0)
        if slots:
            return
        self._fail(step.chunks[0].sequence, EngineFailed("The KV cache has no room for this request."), result)

    def _restart(self, step: Step, lost: SlotsLost, result: StepResult) -> None:
        """Sequences whose slots were lost compute their tokens again, once."""
        for chunk in step.chunks:
            sequence = chunk.sequence
            if sequence.slot not in lost.slots:
                continue
            sequence.computed = 0
            sequence.retries += 1
            if sequence.retries > MAX_RETRIES:
                self._fail(sequence, EngineFailed(f"The engine failed on this request: {lost}."), result)

    def _fail(self, sequence: Sequence, error: CupolaError, result: StepResult) -> None:
        self.scheduler.remove(sequence)
        result.failures[sequence.id] = error


def _segment(chunk: Chunk) -> Segment:
    sequence, count = chunk.sequence, chunk.count
    assert sequence.slot is not None
    tokens = sequence.tokens[sequence.computed : sequence.computed + count]
    last = count == sequence.pending
    wanted = range(count - 1, count) if last else range(0)
    return Segment(sequence.slot, tokens, sequence.computed, wanted, sequence.longest)


def make_sequence(request: Request, runner: ModelRunner) -> Sequence:
    """Tokenise and check a request against the loaded model. Any thread may call it.

    Raises ContextLengthExceeded, and InvalidValue for token ids that the model does not have.
    """
    info, tokenizer, params = runner.info, runner.tokenizer, request.params
    if isinstance(request.prompt, str):
        tokens = tokenizer.encode(request.prompt, special=request.special)
    else:
        tokens = list(request.prompt)
    if not tokens:
        raise InvalidValue("The prompt is empty.", param="prompt")
    for name, ids in (("prompt", tokens), ("logit_bias", params.logit_bias)):
        wrong = next((token for token in ids if not 0 <= token < info.vocab_size), None)
        if wrong is not None:
            raise InvalidValue(f"{name}: the model has no token {wrong}; ids are below {info.vocab_size}.", param=name)
    if len(tokens) + (params.max_tokens or 1) > info.context_length:
        raise ContextLengthExceeded.of(len(tokens), params.max_tokens, info.context_length)
    return Sequence(
        request=request,
        prompt_tokens=len(tokens),
        tokens=tokens,
        sampler=Sampler(params, tokens, tokenizer.eos_ids),
        text=TextStream(params.stop),
        limit=info.context_length,
    )
