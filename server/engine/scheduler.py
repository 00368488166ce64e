"""Which sequences run in the next step, with how many tokens. Pure: no clock, no engine, no thread.

First come, first served, by requests. A sequence waits for a slot and for KV room; once running it decodes one token a
step, and the prompts share what is left of the step fairly. When a shared KV pool runs full, first the contents that
free slots keep for reuse go, then the newest running sequence is preempted: it waits at the head of the queue and
computes its tokens again. The oldest running sequence is never preempted, so there is always progress.

Adapters take no turns: a step has a token for every running sequence, and the runner divides it by adapter. Here they
matter for prefixes alone, which are reused under the adapter that computed them.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from ..runners.base import RunnerInfo
from ..types import Adapter
from .prefix import Seat, choose_seat, reusable
from .sequence import Sequence

HEADROOM = 64  # KV room that a newcomer must find beyond its prompt, so that it is not preempted at once


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `count` tokens of a sequence."""

    sequence: Sequence
    count: int

    @property
    def decodes(self) -> bool:
        return self.count == 1 and self.sequence.generated > 0


@dataclass(slots=True)
class Step:
    """What the engine must do, in this order: empty slots, then run chunks."""

    emptied: list[int] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def decode_tokens(self) -> int:
        return sum(1 for chunk in self.chunks if chunk.decodes)

    @property
    def prefill_tokens(self) -> int:
        return sum(chunk.count for chunk in self.chunks if not chunk.decodes)


@dataclass(frozen=True, slots=True)
class Admission:
    """A sequence that got a seat; `emptied` slots lose their kept contents first."""

    sequence: Sequence
    seat: Seat
    emptied: list[int]


class Scheduler:
    """The books of slots, queue and KV room. The engine thread is its only user."""

    def __init__(self, info: RunnerInfo) -> None:
        self._info = info
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of admission
        self._free = list(range(info.slots))  # least recently used first
        self._steps = 0
        self._kept: dict[int, list[int]] = {slot: [] for slot in range(info.slots)}  # contents of free slots
        self._computed_by: dict[int, Adapter | None] = {}  # what a slot holds, kept or running

    @property
    def kv_used(self) -> int:
        """Tokens of running sequences that have KV entries; what free slots keep for reuse gives way at once."""
        return sum(sequence.computed for sequence in self.running)

    @property
    def kv_capacity(self) -> int:
        """Tokens that there is room for."""
        info = self._info
        return info.slots * info.context_length if info.cache_tokens is None else info.cache_tokens

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def find(self, request_id: str) -> list[Sequence]:
        """The continuations of a request that are still here."""
        return [s for s in (*self.running, *self.waiting) if s.request.id == request_id]

    def remove(self, sequence: Sequence) -> None:
        """A finished, failed or cancelled sequence: its slot is free at once, its contents stay for reuse."""
        sequence.over = True
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        self._release(sequence, sequence.tokens[: sequence.computed])

    def admit(self) -> Admission | None:
        """Seat the next of the queue, if there is one that may run, and a slot and KV room are there."""
        if not self.waiting or not self._free:
            return None
        sequence = self._next()
        if sequence is None:
            return None
        for seat in self._seats(sequence):
            emptied = self._make_room(self._needed(sequence, seat), spare={seat.slot, seat.source})
            if emptied is not None:
                self._take(sequence, seat)
                return Admission(sequence, seat, emptied)
        return None

    def _next(self) -> Sequence | None:
        """Of those that need not wait for another's prompt the first whose request has the fewest slots: a request for
        many continuations does not keep others out, and never has fewer than one."""
        taken = Counter(s.request.id for s in self.running)
        return min((s for s in self.waiting if s.ready), key=lambda s: taken[s.request.id], default=None)

    def preempt(self) -> int | None:
        """Send the newest running sequence back to the head of the queue; the slot that it leaves is to be emptied.

        None if only one runs: it is the oldest.
        """
        if len(self.running) < 2:
            return None
        sequence = self.running.pop()
        assert sequence.slot is not None
        slot = sequence.slot
        self._release(sequence, [])
        sequence.computed = 0
        self.waiting.appendleft(sequence)
        return slot

    def relieve(self) -> list[int]:
        """Slots to be emptied when the cache turned out full: all that are kept for reuse, else the newest one's."""
        kept = [slot for slot, tokens in self._kept.items() if tokens]
        for slot in kept:
            self._kept[slot] = []
        if kept:
            return kept
        preempted = self.preempt()
        return [] if preempted is None else [preempted]

    def forget(self) -> None:
        """Nothing is kept for reuse any more: the slots are empty."""
        self._kept = {slot: [] for slot in self._kept}

    def schedule(self, prefill_budget: int) -> Step:
        """The next step: one token of every decoding sequence, then chunks of prompts, about `prefill_budget` tokens.

        Without decodes the whole batch is for prompts. Preempts until what is scheduled fits the pool.
        """
        step = Step()
        while True:
            step.chunks = self._chunks(prefill_budget)
            computed = sum(s.computed for s in self.running)
            emptied = self._make_room(computed + sum(chunk.count for chunk in step.chunks), spare=set())
            if emptied is not None:
                step.emptied += emptied
                return step
            slot = self.preempt()
            assert slot is not None, "one sequence is always smaller than the pool"
            step.emptied.append(slot)

    def _chunks(self, prefill_budget: int) -> list[Chunk]:
        decodes = [Chunk(s, 1) for s in self.running if s.pending == 1]
        # Who waited longest for a chunk comes first: on a slow device a step has one to give.
        prompts = sorted((s for s in self.running if s.pending > 1), key=lambda s: s.last_chunk)
        room = self._info.max_batch_tokens - len(decodes)
        budget = min(room, prefill_budget) if decodes else room
        grid = self._info.chunk_tokens
        shares = fair_shares(max(budget // grid, 1), [self._chunks_left(s) for s in prompts])
        ends = [(s.computed // grid + share) * grid for s, share in zip(prompts, shares, strict=True)]
        counts = [min(end, len(s.tokens)) - s.computed for s, end in zip(prompts, ends, strict=True)]
        chunks = [Chunk(s, count) for s, count in zip(prompts, counts, strict=True) if count > 0]
        self._steps += 1
        for chunk in chunks:
            chunk.sequence.last_chunk = self._steps
        return decodes + chunks

    def _chunks_left(self, sequence: Sequence) -> int:
        """Chunks of a prompt that a step may compute; one where it is scored, since logits of a position are large."""
        grid = self._info.chunk_tokens
        left = -(-len(sequence.tokens) // grid) - sequence.computed // grid
        return min(left, 1) if sequence.scores_prompt else left

    def _contents(self) -> dict[int, list[int]]:
        """The tokens whose KV entries each slot holds."""
        running = {s.slot: s.tokens[: s.computed] for s in self.running if s.slot is not None}
        return self._kept | running

    def _seats(self, sequence: Sequence) -> list[Seat]:
        """The best seat, then one that keeps nothing: reuse must never keep a sequence out for ever."""
        best = choose_seat(sequence.tokens, self._contents(), self._free, self._sources(sequence))
        info = self._info
        reused = reusable(best.reused, len(sequence.tokens), info.chunk_tokens, info.least_chunk)
        return [replace(best, reused=reused), Seat(self._free[0], self._free[0], 0)]

    def _sources(self, sequence: Sequence) -> list[int]:
        """Slots whose entries may be reused: with another adapter the same tokens have other ones."""
        if not sequence.may_reuse:
            return []
        return [slot for slot, adapter in self._computed_by.items() if adapter == sequence.request.adapter]

    def _take(self, sequence: Sequence, seat: Seat) -> None:
        self.waiting.remove(sequence)
        self._free.remove(seat.slot)
        self._kept[seat.slot] = []
        self._computed_by[seat.slot] = sequence.request.adapter
        sequence.slot = seat.slot
        sequence.computed = seat.reused
        self.running.append(sequence)

    def _needed(self, sequence: Sequence, seat: Seat) -> int:
        """KV room for the running sequences and a newcomer, which is given what its own slot keeps now."""
        newcomer = min(len(sequence.tokens) + HEADROOM, sequence.limit)
        return sum(len(s.tokens) for s in self.running) + newcomer - len(self._kept[seat.slot])

    def _make_room(self, needed: int, spare: set[int]) -> list[int] | None:
        """Free slots to empty so that `needed` tokens of running sequences fit the pool; None if that is not enough.

        A prefix that slots share counts for each of them: the sum is an upper bound.
        """
        if self._info.cache_tokens is None:
            return []
        lacking = needed + sum(len(tokens) for tokens in self._kept.values()) - self._info.cache_tokens
        emptied: list[int] = []
        for slot in self._free:
            if lacking > 0 and slot not in spare and self._kept[slot]:
                lacking -= len(self._kept[slot])
                emptied.append(slot)
        if lacking > 0:
            return None
        for slot in emptied:
            self._kept[slot] = []
        return emptied

    def _release(self, sequence: Sequence, contents: list[int]) -> None:
        assert sequence.slot is not None
        self._kept[sequence.slot] = contents
        self._free.append(sequence.slot)
        sequence.slot = None


def fair_shares(budget: int, needs: list[int]) -> list[int]:
    """Divide `budget` chunks: one to each in turn, from the first, until nothing is left or nobody needs more."""
    shares = [0] * len(needs)
    while budget and (hungry := [i for i, need in enumerate(needs) if shares[i] < need]):
        for i in hungry[:budget]:
            shares[i] += 1
        budget -= min(budget, len(hungry))
    return shares
