"""The engine loop: one thread owns the model, and one `step` is one forward pass over whoever has something to run."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..errors import CupolaError, EngineFailed, LoadFailed
from ..runners.base import CacheFull, FloatRows, Logits, ModelRunner, Segment, SlotsLost
from ..types import Adapter, Delta, FinishReason, TokenLogprob
from .logprobs import score
from .pace import Pace
from .scheduler import Chunk, Scheduler, Step
from .sequence import Sequence

MAX_RETRIES = 1  # a sequence whose slot was lost twice is the likely cause


@dataclass(slots=True)
class StepResult:
    """What one step brought, by request."""

    deltas: dict[str, Delta] = field(default_factory=dict)
    failures: dict[str, CupolaError] = field(default_factory=dict)
    decode_tokens: int = 0
    prefill_tokens: int = 0
    seconds: float = 0.0
    sequences: int = 0


class Outbox(Protocol):
    """Where results go; called once a step, from the engine's thread."""

    def __call__(self, result: StepResult) -> None: ...


class Engine:
    """Runs sequences on a runner. Not thread-safe: the thread that steps it is its only user."""

    def __init__(self, runner: ModelRunner, outbox: Outbox, prefill_seconds: float) -> None:
        self._runner = runner
        self._outbox = outbox
        self._pace = Pace(prefill_seconds)
        self._adapters: dict[Adapter | None, int | None] = {None: None}  # those that were used, by the runner's numbers
        self.scheduler = Scheduler(runner.info)

    def step(self) -> bool:
        """One pass: admit, schedule, forward, sample, deliver. False if there was nothing to do."""
        result = StepResult()
        self._admit(result)
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
        for sequence in self.scheduler.find(request_id):
            self.scheduler.remove(sequence)

    def release_cache(self) -> bool:
        """Give the KV memory back, with what free slots keep for reuse. False while somebody needs it."""
        if self.scheduler.running or self.scheduler.waiting:
            return False
        self.scheduler.forget()
        self._runner.release_cache()
        return True

    def set_spin(self, spin: bool) -> None:
        self._runner.set_spin(spin)

    def _admit(self, result: StepResult) -> None:
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
                sequence.clock.seated = time.perf_counter()
            try:
                self._load_adapter(sequence.request.adapter)
            except LoadFailed as error:
                self._fail(sequence, error, result)

    def _load_adapter(self, adapter: Adapter | None) -> None:
        """Load it on its first use; it stays for as long as the model. Raises LoadFailed."""
        if adapter is not None and adapter not in self._adapters:
            self._adapters[adapter] = self._runner.load_adapter(Path(adapter.path), adapter.scale)

    def _schedule(self) -> Step:
        step = self.scheduler.schedule(self._pace.prefill_budget(self._runner.info.chunk_tokens))
        for slot in step.emptied:
            self._runner.truncate(slot, 0)
        return step

    def _forward(self, step: Step, result: StepResult) -> Logits | None:
        """Run the chunks; None if the engine could not, after mending what can be mended."""
        began = time.perf_counter()
        try:
            logits = self._runner.forward([self._segment(chunk) for chunk in step.chunks])
        except CacheFull:
            self._relieve(step, result)
            return None
        except SlotsLost as lost:
            self._restart(step, lost, result)
            return None
        result.seconds = time.perf_counter() - began
        result.decode_tokens, result.prefill_tokens = step.decode_tokens, step.prefill_tokens
        result.sequences = len(step.chunks)
        self._pace.record(step.decode_tokens, step.prefill_tokens, result.seconds)
        for chunk in step.chunks:
            chunk.sequence.computed += chunk.count
        return logits

    def _segment(self, chunk: Chunk) -> Segment:
        sequence, count = chunk.sequence, chunk.count
        assert sequence.slot is not None
        tokens = sequence.tokens[sequence.computed : sequence.computed + count]
        wanted = _wanted(sequence, count, last=count == sequence.pending)
        adapter = self._adapters[sequence.request.adapter]
        return Segment(sequence.slot, tokens, sequence.computed, wanted, sequence.longest, adapter)

    def _sample(self, chunks: list[Chunk], logits: Logits, result: StepResult) -> None:
        ready = self._ready(chunks, logits)
        greedy = [row for row, sequence in ready if sequence.sampler.greedy and sequence.guide is None]
        tokens = dict(zip(greedy, map(int, logits.argmax(greedy)), strict=True)) if greedy else {}
        for row, sequence in ready:
            if sequence.request.params.max_tokens == 0:
                self._give(sequence, "", "length", result)
                continue
            try:
                token = tokens[row] if row in tokens else _draw(sequence, logits.host([row])[0])
                if sequence.request.logprobs is not None:
                    self._score(sequence, token, logits.host([row])[0])
            except EngineFailed as error:
                self._fail(sequence, error, result)
            else:
                self._append(sequence, token, result)

    def _ready(self, chunks: list[Chunk], logits: Logits) -> list[tuple[int, Sequence]]:
        """The sequences whose tokens are all computed, each with its row of the next token's logits."""
        ready: list[tuple[int, Sequence]] = []
        row = 0
        for chunk in chunks:
            sequence = chunk.sequence
            rows = len(_wanted(sequence, chunk.count, last=not sequence.pending))
            if sequence.scores_prompt:
                self._score_prompt(sequence, chunk.count, logits, row)
            row += rows
            if not sequence.pending:
                ready.append((row - 1, sequence))
        return ready

    def _score(self, sequence: Sequence, token: int, row: FloatRows) -> None:
        """Note the log-probability of a token, unless it is one that ends the turn and so is no part of the text."""
        tokenizer = self._runner.tokenizer
        if token not in tokenizer.eos_ids or sequence.request.params.ignore_eos:
            scored = score(row, token, sequence.request.logprobs or 0, tokenizer)
            sequence.scores.add(scored, sequence.shown.get(token, scored.text))

    def _score_prompt(self, sequence: Sequence, count: int, logits: Logits, first: int) -> None:
        """Note the log-probabilities of the tokens after each of the `count` positions that were just computed."""
        tokenizer, scores = self._runner.tokenizer, sequence.prompt_scores
        if not scores:
            token = sequence.tokens[0]
            scores.append(TokenLogprob(token, tokenizer.token_bytes(token), None))
        for offset in range(count):
            at = sequence.computed - count + offset + 1
            if len(scores) <= at < sequence.prompt_tokens:
                row = logits.host([first + offset])[0]
                scores.append(score(row, sequence.tokens[at], sequence.request.prompt_logprobs or 0, tokenizer))

    def _append(self, sequence: Sequence, token: int, result: StepResult) -> None:
        sequence.sampler.accept(token)
        sequence.clock.note_token()
        tokenizer = self._runner.tokenizer
        text, finish = sequence.append(token, tokenizer.eos_ids, tokenizer.token_bytes(token))
        self._give(sequence, text, finish, result)

    def _give(self, sequence: Sequence, text: str, finish: FinishReason | None, result: StepResult) -> None:
        """Deliver what a step brought a sequence, and let it go when it ends."""
        stop = sequence.text.stopped
        result.deltas[sequence.id] = Delta(
            text=text,
            tokens=1 if sequence.generated else 0,
            finish=finish,
            usage=sequence.usage() if finish else None,
            index=sequence.index,
            logprobs=sequence.scores.release(text, rest=finish is not None and stop is None),
            prompt=tuple(sequence.prompt_scores) if sequence.generated <= 1 else (),
            stop=stop if finish else None,
        )
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


def _draw(sequence: Sequence, row: FloatRows) -> int:
    """The next token, of those that the grammar allows. Raises EngineFailed."""
    guide = sequence.guide
    if guide is None:
        return sequence.sampler.draw(row)
    left = sequence.longest - len(sequence.tokens)
    token = sequence.sampler.draw(row, guide.allowed(left, sequence.longest - sequence.prompt_tokens))
    guide.accept(token)
    return token


def _wanted(sequence: Sequence, count: int, *, last: bool) -> range:
    """The offsets in a chunk whose logits are asked: its end where no token comes after it, or all of a prompt that
    is scored."""
    if sequence.scores_prompt:
        return range(count)
    return range(count - 1, count) if last else range(0)
