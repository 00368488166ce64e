"""Decoders with GroupQueryAttention, in the layout of ONNX Runtime GenAI, with KV rows of our own.

GroupQueryAttention takes each row's length from the attention mask, so sequences of any length decode together. Idle
rows are not computed: what steps together lies in neighbouring rows, which trade places when sequences join or leave.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...models.genai_config import GenaiConfig
from ...models.tokenizer import JsonTokenizer
from ..base import Batch, CacheFull, Logits, Placement, RunnerInfo, SlotsLost, check_batch
from .adapters import Adapters
from .arrangement import Arrangement
from .decoding import Decoding
from .layout import POSITIONS, Layout
from .logits import Place, ReadLogits
from .passes import CHUNK_TOKENS, WASTE, Pass, passes
from .rows import KvRows, grown
from .session import RunFailed, Session

BATCH_TOKENS = 512

Found = dict[int, Place]  # by the number of the row in the answer
Run = Callable[[Pass, Found], None]


class OnnxRunner:
    """One session; slots are rows of the KV memory. `read` is how logits come from where the passes leave them."""

    def __init__(
        self,
        session: Session,
        layout: Layout,
        config: GenaiConfig,
        tokenizer: JsonTokenizer,
        placement: Placement,
        rows: KvRows,
        read: ReadLogits,
    ) -> None:
        self._session, self._layout, self.tokenizer = session, layout, tokenizer
        self._rows, self._read = rows, read
        self._seats = Arrangement(placement.slots)
        self._adapters = Adapters(session)
        self.info = RunnerInfo(
            vocab_size=layout.vocabulary,
            context_length=min(config.model.context_length, placement.context or config.model.context_length),
            slots=placement.slots,
            max_batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            cache_tokens=None,
            cache_bytes_per_token=rows.bytes_per_token,
            logits="last" if layout.last_only else "any",
            least_chunk=2,
        )
        self._decoding = Decoding(layout, rows, placement.slots, self.info.context_length)
        self._decoded = 0  # rows of its logits that this batch has written

    def forward(self, batch: Batch) -> Logits:
        check_batch(batch, self.info, self._seats.lengths, len(self._adapters))
        self._make_room(max(segment.start + len(segment.tokens) for segment in batch))
        # Padding would be what a graph that keeps the last position keeps.
        plan = passes(batch, waste=1 if self._layout.last_only else WASTE)
        self._decoded = 0
        found: Found = {}
        lost: dict[int, str] = {}
        for together in plan.prompts:
            lost |= self._attempt(self._prefill, [piece for piece in together if piece.segment.slot not in lost], found)
        for together in plan.decodes:
            lost |= self._attempt(self._decode, together, found)
        if lost:
            for segment in batch:
                self._seats.lengths[segment.slot] = 0 if segment.slot in lost else segment.start
            raise SlotsLost(list(lost), next(iter(lost.values())))
        return self._read([found[row] for row in range(len(found))])

    def copy_prefix(self, source: int, target: int, length: int) -> bool:
        assert length <= self._seats.lengths[source], "a prefix longer than what the source holds"
        self._rows.copy(self._seats.row(source), self._seats.row(target), length)
        self._seats.lengths[target] = length
        return True

    def truncate(self, slot: int, length: int) -> bool:
        assert length <= self._seats.lengths[slot], "truncation to more than the slot holds"
        self._seats.lengths[slot] = length
        return True

    def load_adapter(self, path: Path, scale: float = 1.0) -> int:
        return self._adapters.load(path, scale)

    def release_cache(self) -> None:
        self._seats.lengths[:] = [0] * len(self._seats.lengths)
        self._rows.release()
        self._decoding.rows_have_moved()

    def set_spin(self, spin: bool) -> None:
        """It is an option of a session, so there is another one; the KV memory is ours and stays."""
        self._decoding.rows_have_moved()  # first: its bindings keep the old session, and so the weights twice
        self._session.set_spin(spin)

    def close(self) -> None:
        del self._decoding
        self._rows.close()
        self._session.close()

    def _attempt(self, run: Run, together: Pass, found: Found) -> dict[int, str]:
        """Run a pass; where it fails, its pieces one by one, so that only those at fault are lost: slots, reasons."""
        if not together:
            return {}
        try:
            run(together, found)
        except RunFailed as failure:
            if len(together) == 1:
                return {together[0].segment.slot: str(failure)}
            alone = [self._attempt(run, [piece], found) for piece in together]
            return {slot: reason for lost in alone for slot, reason in lost.items()}
        return {}

    def _decode(self, together: Pass, found: Found) -> None:
        """One token of each sequence."""
        first = self._gather([piece.segment.slot for piece in together])
        rows = [self._seats.row(piece.segment.slot) - first for piece in together]
        tokens, lengths = [0] * len(rows), [0] * len(rows)
        for row, piece in zip(rows, together, strict=True):
            segment = piece.segment
            tokens[row] = segment.tokens[0]
            lengths[row] = self._seats.lengths[segment.slot] = segment.start + 1
        number = together[0].segment.adapter
        place = self._decoded
        self._decoding.step(first, tokens, lengths, (number, self._adapters.tensors(number)), place)
        self._decoded += len(rows)
        for row, piece in zip(rows, together, strict=True):
            if len(piece.segment.wanted):
                found[piece.place] = Place(self._decoding.logits, place + row, 0)

    def _prefill(self, together: Pass, found: Found) -> None:
        """Several tokens of one sequence, or the first ones of several, padded on the right."""
        first = self._gather([piece.segment.slot for piece in together])
        count, width = len(together), max(piece.width for piece in together)
        ids = np.zeros((count, width), np.int64)
        asked = np.zeros((count, max(len(piece.segment.wanted) for piece in together)), np.int64)
        held = np.zeros((count, 1), np.int64)
        for piece in together:
            segment = piece.segment
            row = self._seats.row(segment.slot) - first
            ids[row, : piece.width] = segment.tokens
            asked[row, : len(segment.wanted)] = segment.wanted
            held[row] = self._seats.lengths[segment.slot] = segment.start + piece.width
        start = together[0].segment.start  # 0 unless it is alone
        mask = (np.arange(held.max()) < held).astype(np.int64)
        feeds = self._layout.feeds(ids, mask, np.broadcast_to(np.arange(start, start + width), ids.shape).copy())
        if self._layout.asks_positions:
            feeds[POSITIONS] = asked
        # Bound anew each time: the logits have to outlive other passes of the batch, and each has another shape.
        binding = self._layout.bind(self._rows, first, count, self._adapters.tensors(together[0].segment.adapter))
        for name, array in feeds.items():
            binding.feed(name, array)
        self._layout.make_logits(binding)
        binding.run()
        logits = binding.made()
        every = not self._layout.asks_positions and not self._layout.last_only
        for piece in together:
            row = self._seats.row(piece.segment.slot) - first
            for number, position in enumerate(piece.segment.wanted):
                found[piece.place + number] = Place(logits, row, position if every else number)

    def _gather(self, slots: Sequence[int]) -> int:
        """Bring slots into neighbouring rows; the first of them."""
        first, pairs = self._seats.gather(slots)
        for one, other in pairs:
            # They have traded places in the books already.
            (length,), (other_length,) = self._seats.row_lengths(other, 1), self._seats.row_lengths(one, 1)
            if not other_length:
                self._rows.copy(one, other, length)
            elif not length:
                self._rows.copy(other, one, other_length)
            else:
                self._rows.swap(one, other, length, other_length)
        return first

    def _make_room(self, needed: int) -> None:
        """Raises CacheFull, with nothing changed, where memory is out."""
        if needed <= self._rows.capacity:
            return
        try:
            self._rows.grow(grown(self._rows.capacity, needed, self.info.context_length), self._seats.row_lengths())
        except MemoryError:
            raise CacheFull from None
        finally:
            self._decoding.rows_have_moved()
