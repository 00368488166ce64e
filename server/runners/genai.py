"""ONNX Runtime GenAI, one Generator a slot: for what the `onnx` engine cannot run. The only file that imports it.

DirectML, QNN, OpenVINO, VitisAI and WebGPU packages, pipelines of several graphs, rolling KV buffers. The folder says
which device and with what options. Sequences step one after the other, prefixes are not shared between slots, and a
Generator holds KV memory for the length it was made for, so it is made for the sequence's own (`Segment.reserve`).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og

from ..errors import InvalidValue, LoadFailed
from ..models.genai_config import GenaiConfig, read
from ..models.tokenizer import JsonTokenizer
from .base import (
    Batch,
    FloatRows,
    Placement,
    ReportProgress,
    RowLogits,
    RunnerInfo,
    Segment,
    SlotsLost,
    check_batch,
    split_segment,
)

CHUNK_TOKENS = 64
BATCH_TOKENS = 512
SMALLEST = 64  # positions of a Generator made for a sequence of unknown length


class Slot:
    """One sequence: its tokens and the Generator that holds them, if there is one."""

    def __init__(self, adapter: int | None = None) -> None:
        self.adapter = adapter
        self.tokens: list[int] = []
        self.generator: Any = None
        self.capacity = 0


class GenaiRunner:
    """One model; a Generator for each slot in use."""

    def __init__(self, model: Any, config: GenaiConfig, tokenizer: JsonTokenizer, placement: Placement) -> None:
        self._model = model
        self._adapters = og.Adapters(model)
        self._adapter_count = 0
        self.tokenizer = tokenizer
        self._slots = [Slot() for _ in range(placement.slots)]
        context = config.model.context_length
        all_rows, number_size = self._probe(config)
        decoder = config.model.decoder
        self.info = RunnerInfo(
            vocab_size=config.model.vocab_size,
            context_length=min(context, placement.context or context),
            slots=placement.slots,
            max_batch_tokens=BATCH_TOKENS,
            chunk_tokens=CHUNK_TOKENS,
            cache_tokens=None,
            cache_bytes_per_token=(
                2 * decoder.num_hidden_layers * decoder.num_key_value_heads * decoder.head_size * number_size
            ),
            logits="any" if all_rows else "last",
        )

    def forward(self, batch: Batch) -> RowLogits:
        check_batch(batch, self.info, [len(held.tokens) for held in self._slots], self._adapter_count)
        rows: list[FloatRows] = []
        lost: dict[int, str] = {}
        for segment in batch:
            try:
                rows += self._run(segment)
            except RuntimeError as error:
                lost[segment.slot] = str(error).splitlines()[0][:300]
                self._drop(segment.slot)
        if lost:
            raise self._undone(batch, lost)
        return RowLogits(rows)

    def copy_prefix(self, source: int, target: int, length: int) -> bool:
        """Generators cannot share what they hold."""
        self._drop(target)
        return length == 0

    def truncate(self, slot: int, length: int) -> bool:
        held = self._slots[slot]
        assert length <= len(held.tokens), "truncation to more than the slot holds"
        if length == len(held.tokens):
            return True
        if length == 0:
            self._drop(slot)
            return True
        try:
            held.generator.rewind_to(length)
        except RuntimeError:  # a rolling buffer has forgotten what it would go back to
            self._drop(slot)
            return False
        del held.tokens[length:]
        return True

    def load_adapter(self, path: Path, scale: float = 1.0) -> int:
        if scale != 1.0:
            raise LoadFailed(f"ONNX Runtime GenAI takes {path.name} as it is, without a scale; remove it.")
        try:
            self._adapters.load(str(path), str(self._adapter_count))
        except RuntimeError as error:
            raise LoadFailed(f"ONNX Runtime GenAI cannot load the adapter {path.name}: {_first_line(error)}") from None
        self._adapter_count += 1
        return self._adapter_count - 1

    def release_cache(self) -> None:
        """What the Generators held is free for others of this model; ONNX Runtime's arena keeps it from the system."""
        for slot in range(len(self._slots)):
            self._drop(slot)

    def set_spin(self, spin: bool) -> None:
        """GenAI takes it when it loads, and never again."""

    def room(self, slot: int) -> int:
        """Positions that the slot's Generator was made for; 0 if it has none."""
        return self._slots[slot].capacity

    def close(self) -> None:
        self._slots.clear()
        self._adapters = None
        self._model = None

    def _run(self, segment: Segment) -> list[FloatRows]:
        """The wanted rows of one segment, copied: the next step reuses GenAI's buffer."""
        held = self._slots[segment.slot]
        if not held.tokens and held.adapter != segment.adapter:
            held = self._slots[segment.slot] = Slot(segment.adapter)
        end = segment.start + len(segment.tokens)
        if held.generator is None or end > held.capacity:
            # Half as much again for a sequence that outgrew its Generator: each renewal computes all of it anew.
            self._renew(held, max(end + len(held.tokens) // 2, segment.reserve, SMALLEST))
        rows: list[FloatRows] = []
        for part in split_segment(segment, CHUNK_TOKENS):
            held.generator.append_tokens(np.asarray(part.tokens, np.int32))
            held.tokens += part.tokens
            rows += _rows(held.generator, part)
        return rows

    def _renew(self, held: Slot, length: int) -> None:
        """A Generator with room for `length` positions; what an older one held is computed again."""
        held.generator = None  # its memory is free for the new one
        held.capacity = min(length, self.info.context_length)
        held.generator = self._generator(held.capacity)
        if held.adapter is not None:
            held.generator.set_active_adapter(self._adapters, str(held.adapter))
        for start in range(0, len(held.tokens), CHUNK_TOKENS):
            held.generator.append_tokens(np.asarray(held.tokens[start : start + CHUNK_TOKENS], np.int32))

    def _generator(self, length: int) -> Any:
        parameters = og.GeneratorParams(self._model)
        parameters.set_search_options(max_length=length, batch_size=1)
        return og.Generator(self._model, parameters)

    def _undone(self, batch: Batch, lost: dict[int, str]) -> SlotsLost:
        """The other slots as they were before; those that cannot go back are lost too."""
        reason = next(iter(lost.values()))
        for segment in batch:
            if segment.slot not in lost and not self.truncate(segment.slot, segment.start):
                lost[segment.slot] = reason
        return SlotsLost(list(lost), reason)

    def _drop(self, slot: int) -> None:
        self._slots[slot] = Slot()

    def _probe(self, config: GenaiConfig) -> tuple[bool, int]:
        """Whether the graph computes logits for every position, or for the last one alone; bytes of a KV number."""
        generator = self._generator(SMALLEST)
        generator.append_tokens(np.zeros(2, np.int32))
        all_rows = bool(generator.get_output("logits").shape[1] == 2)
        try:
            entries = generator.get_output(config.model.decoder.outputs.present_key_names % 0)
        except RuntimeError:  # a pipeline may not show them
            return all_rows, 4
        return all_rows, int(entries.dtype.itemsize)


def _rows(generator: Any, part: Segment) -> list[FloatRows]:
    """The wanted rows of what was appended last."""
    if not len(part.wanted):
        return []
    if list(part.wanted) == [len(part.tokens) - 1]:
        return [np.array(generator.get_logits()[0, -1], np.float32)]
    rows = generator.get_output("logits")[0]
    return [np.array(rows[offset], np.float32) for offset in part.wanted]


def load(artifact: Path | None, placement: Placement, report: ReportProgress) -> GenaiRunner:
    """Load a folder after its configuration was found harmless. Raises LoadFailed with GenAI's own reason."""
    if artifact is None:
        raise LoadFailed("The genai engine needs a folder with genai_config.json.")
    try:
        config = read(artifact)
        tokenizer = JsonTokenizer(artifact, frozenset(config.model.eos_ids), config.model.bos_token_id)
    except InvalidValue as error:
        raise LoadFailed(error.message) from None
    report(0.2)
    try:
        options = og.Config(str(artifact))
        options.overlay(json.dumps(overlay(placement)))
        model = og.Model(options)
        report(0.9)
        return GenaiRunner(model, config, tokenizer, placement)
    except RuntimeError as error:
        raise LoadFailed(f"ONNX Runtime GenAI cannot load {artifact.name}: {_first_line(error)}") from None


def overlay(placement: Placement) -> dict[str, Any]:
    """What is ours to say beside a folder's configuration, which `read` has checked: threads, and nothing else."""
    return {"model": {"decoder": {"session_options": {"intra_op_num_threads": placement.threads}}}}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:500]
