"""A deterministic engine without weights, for docs, smoke tests, API tests and scheduler tests.

The logits of a position are a function of all tokens up to it and of nothing else, so a sequence says the same alone
and in company; and the runner checks what real engines abort on: gaps in positions, two segments in a slot.
The artifact is optional: a JSON file with any field of `FakeOptions`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from ..errors import EngineFailed, LoadFailed
from .base import ArrayLogits, Batch, CacheFull, EncoderInfo, FloatRows, Placement, ReportProgress, RunnerInfo

BYTES = 256
SPECIALS = ("<|begin|>", "<|im_start|>", "<|im_end|>")
BEGIN, IM_START, IM_END = range(BYTES, BYTES + len(SPECIALS))
VOCABULARY = BYTES + len(SPECIALS)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PRIME = (1 << 61) - 1


class FakeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a fake model behaves. Times are seconds; an answer ends after about `answer_tokens` tokens.

    With a `dimension` it is an encoder: it makes so many numbers of a text, and writes none.
    """

    load_seconds: float = 0.0
    step_seconds: float = 0.0
    answer_tokens: int = 48
    context: int = 2048
    can_copy: bool = True
    can_truncate: bool = True
    chat_template: str | None = CHAT_TEMPLATE
    fail_load: str = ""
    dimension: int = 0
    fail_token: int | None = None  # an encoder's call fails with this token in it


class FakeAdapter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of a fake adapter says: a number that changes every answer."""

    salt: int


class FakeTokenizer:
    """Bytes, and three special tokens."""

    bos_token, eos_token = SPECIALS[0], SPECIALS[2]
    eos_ids = frozenset({IM_END})

    def __init__(self, chat_template: str | None = CHAT_TEMPLATE) -> None:
        self.chat_template = chat_template

    def encode(self, text: str, *, special: bool) -> list[int]:
        tokens = [] if text.startswith(self.bos_token) and special else [BEGIN]
        while text:
            found = next((i for i, name in enumerate(SPECIALS) if special and text.startswith(name)), None)
            if found is None:
                cut = min((at for name in SPECIALS if special and (at := text.find(name)) > 0), default=len(text))
                tokens += text[:cut].encode()
                text = text[cut:]
            else:
                tokens.append(BYTES + found)
                text = text[len(SPECIALS[found]) :]
        return tokens

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < BYTES else b""


class FakeRunner:
    """Slots are lists of running hashes of the tokens they hold: one a position."""

    def __init__(self, options: FakeOptions, placement: Placement) -> None:
        self._options = options
        context = min(placement.context or options.context, placement.cache_tokens or options.context)
        self.info = RunnerInfo(
            vocab_size=VOCABULARY,
            context_length=context,
            slots=placement.slots,
            max_batch_tokens=512,
            chunk_tokens=32,
            cache_tokens=placement.cache_tokens,
            cache_bytes_per_token=8,
        )
        self.tokenizer = FakeTokenizer(options.chat_template)
        self.forwards = 0
        self._slots: list[list[int]] = [[] for _ in range(placement.slots)]
        self._adapters: list[int] = []  # their salts
        self._owners: list[int | None] = [None] * placement.slots  # the adapter that computed what a slot holds

    def forward(self, batch: Batch) -> ArrayLogits:
        self._check(batch)
        self.forwards += 1
        if self._options.step_seconds:
            time.sleep(self._options.step_seconds)
        rows: list[FloatRows] = []
        for segment in batch:
            hashes = self._slots[segment.slot]
            salt = 0 if segment.adapter is None else self._adapters[segment.adapter]
            self._owners[segment.slot] = segment.adapter
            for token in segment.tokens:
                hashes.append(((hashes[-1] if hashes else 7) * 1_000_003 + token + 1 + salt) % _PRIME)
            rows += [self._row(hashes[segment.start + offset]) for offset in segment.wanted]
        return ArrayLogits(rows or np.zeros((0, VOCABULARY)))

    def copy_prefix(self, source: int, target: int, length: int) -> bool:
        if not self._options.can_copy:
            return False
        assert len(self._slots[source]) >= length, "a prefix longer than what the source holds"
        self._slots[target] = self._slots[source][:length]
        self._owners[target] = self._owners[source]
        return True

    def truncate(self, slot: int, length: int) -> bool:
        if self._options.can_truncate or length == 0:
            assert len(self._slots[slot]) >= length, "truncation to more than the slot holds"
            del self._slots[slot][length:]
            return True
        self._slots[slot].clear()
        return False

    def load_adapter(self, path: Path, scale: float = 1.0) -> int:
        try:
            adapter = msgspec.json.decode(path.read_bytes(), type=FakeAdapter)
        except (OSError, msgspec.DecodeError):
            raise LoadFailed(f"The fake engine has no weights that {path.name} could adapt.") from None
        self._adapters.append(int(adapter.salt * scale * 1009))
        return len(self._adapters) - 1

    def release_cache(self) -> None:
        for slot in self._slots:
            slot.clear()

    def set_spin(self, spin: bool) -> None:
        """It has no threads."""

    def close(self) -> None:
        self._slots.clear()

    def _check(self, batch: Batch) -> None:
        slots = [segment.slot for segment in batch]
        assert len(set(slots)) == len(slots), "two segments in one slot"
        added = 0
        for segment in batch:
            held = len(self._slots[segment.slot])
            assert segment.start == held, (
                f"slot {segment.slot} holds {held} tokens, the segment starts at {segment.start}"
            )
            assert segment.start + len(segment.tokens) <= self.info.context_length, "past the context"
            assert not held or self._owners[segment.slot] == segment.adapter, "entries that another adapter computed"
            assert segment.adapter is None or segment.adapter < len(self._adapters), "no such adapter"
            assert all(0 <= token < VOCABULARY for token in segment.tokens), "a token outside the vocabulary"
            added += len(segment.tokens)
        held = sum(len(slot) for slot in self._slots)
        if self.info.cache_tokens is not None and held + added > self.info.cache_tokens:
            raise CacheFull

    def _row(self, state: int) -> FloatRows:
        """Noise, lifted for small letters and the space; now and then the end of the turn wins."""
        row = np.random.Generator(np.random.PCG64(state)).standard_normal(VOCABULARY, dtype=np.float32)
        row[ord("a") : ord("z") + 1] += 6.0
        row[ord(" ")] += 7.0
        row[IM_END] += 20.0 if state % self._options.answer_tokens == 0 else -20.0
        return row


class FakeEncoder:
    """A vector is a function of all tokens of its row, and of nothing else; its length is 1."""

    def __init__(self, options: FakeOptions, placement: Placement) -> None:
        self._options = options
        self.info = EncoderInfo(
            vocab_size=VOCABULARY,
            context_length=min(placement.context or options.context, options.context),
            dimension=options.dimension,
            batch_tokens=512,
        )
        self.tokenizer = FakeTokenizer(None)
        self.calls: list[list[int]] = []  # lengths of the rows of each call

    def encode(self, rows: Sequence[Sequence[int]]) -> FloatRows:
        self.calls.append([len(row) for row in rows])
        assert rows, "no rows"
        assert all(0 < len(row) <= self.info.context_length for row in rows), "an empty row, or past the context"
        assert all(0 <= token < VOCABULARY for row in rows for token in row), "a token outside the vocabulary"
        if self._options.step_seconds:
            time.sleep(self._options.step_seconds)
        if any(self._options.fail_token in row for row in rows):
            raise EngineFailed("The fake engine failed, as it was told to.")
        found = np.stack([self._vector(row) for row in rows])
        unit: FloatRows = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    def close(self) -> None:
        self.calls.clear()

    def _vector(self, row: Sequence[int]) -> FloatRows:
        state = 7
        for token in row:
            state = (state * 1_000_003 + token + 1) % _PRIME
        generator = np.random.Generator(np.random.PCG64(state))
        return generator.standard_normal(self.info.dimension, dtype=np.float32)


def load(artifact: Path | None, placement: Placement, report: ReportProgress) -> FakeRunner | FakeEncoder:
    """A fake model with the options of the artifact, if there is one."""
    options = _read_options(artifact)
    deadline = time.monotonic() + options.load_seconds
    while (left := deadline - time.monotonic()) > 0:
        report(1 - left / options.load_seconds)
        time.sleep(min(0.05, left))
    if options.fail_load:
        raise LoadFailed(options.fail_load)
    return FakeEncoder(options, placement) if options.dimension else FakeRunner(options, placement)


def _read_options(artifact: Path | None) -> FakeOptions:
    if artifact is None:
        return FakeOptions()
    try:
        return msgspec.json.decode(artifact.read_bytes(), type=FakeOptions)
    except (OSError, msgspec.DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LoadFailed(f"{artifact.name} is not a description of a fake model: {reason}") from None


def slot_lengths(runner: FakeRunner) -> Sequence[int]:
    """How many tokens each slot holds; for tests that compare it with the scheduler's books."""
    return [len(slot) for slot in runner._slots]
