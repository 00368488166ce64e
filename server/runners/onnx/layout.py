"""What a decoder's graph looks like: the names of its inputs and outputs, and the positions that get logits."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ...models.genai_config import GenaiConfig
from .adapters import is_adapter
from .rows import KvRows
from .session import Binding, Session, Tensor, allocate

Ids = npt.NDArray[np.int64]
POSITIONS = "logit_positions"  # of graphs made by converters/: offsets [B, P] whose logits are asked; default the last


class Layout:
    """A graph, by the names that its folder's configuration gives."""

    def __init__(self, session: Session, config: GenaiConfig) -> None:
        self._session = session
        self._inputs, self._outputs = config.model.decoder.inputs, config.model.decoder.outputs
        names = (
            (self._inputs.past_key_names, self._outputs.present_key_names),
            (self._inputs.past_value_names, self._outputs.present_value_names),
        )
        layers = range(config.model.decoder.num_hidden_layers)
        self._cache = [(past % layer, present % layer) for layer in layers for past, present in names]
        self._vocabulary = config.model.vocab_size
        self.asks_positions = POSITIONS in session.overridable

    @property
    def last_only(self) -> bool:
        """Whether the graph keeps the last position and no other (prune_lm_head of GenAI's model builder)."""
        return not self.asks_positions and bool(self._logits_shape[1] == 1)

    @property
    def vocabulary(self) -> int:
        """Width of a row of logits: some graphs have a few more than the model has tokens."""
        width = self._logits_shape[2]
        return width if isinstance(width, int) else self._vocabulary

    @property
    def _logits_shape(self) -> list[int | str]:
        shape: list[int | str] = self._session.outputs[self._outputs.logits].shape
        return shape

    def mismatch(self) -> str:
        """What speaks against the graph: a name that the configuration promises and it lacks, or a strange input."""
        needed = {self._inputs.input_ids, self._inputs.attention_mask, *(past for past, _ in self._cache)}
        made = {self._outputs.logits, *(present for _, present in self._cache)}
        lacking = sorted(needed - self._session.inputs.keys()) + sorted(made - self._session.outputs.keys())
        known = needed | {self._inputs.position_ids}
        strange = sorted(name for name in self._session.inputs if name not in known and not is_adapter(name))
        if lacking:
            return f"the graph has no {lacking[0]!r}"
        return f"the graph wants {strange[0]!r}, which this engine does not have" if strange else ""

    def types(self) -> tuple[np.dtype[Any], np.dtype[Any]]:
        """Of KV entries and of logits. Raises LoadFailed for those that this engine has not."""
        return self._session.dtype(self._cache[0][0]), self._session.dtype(self._outputs.logits)

    def feeds(self, ids: Ids, mask: Ids, positions: Ids) -> dict[str, Ids]:
        """What a pass reads, by name: ids and positions [B, S], mask [B, T] with a one for each token of a row."""
        feeds = {self._inputs.input_ids: ids, self._inputs.attention_mask: mask}
        if self._inputs.position_ids in self._session.inputs:
            feeds[self._inputs.position_ids] = positions
        return feeds

    def bind(self, rows: KvRows, first: int, count: int, adapter: dict[str, Tensor]) -> Binding:
        """Rows `first` to `first + count` as past and as present, so that nothing is copied."""
        binding = self._session.binding()
        for index, (past, present) in enumerate(self._cache):
            shape, address = rows.view(index, first, count)
            binding.read_at(past, rows.device, rows.dtype, shape, address)
            binding.write_at(present, rows.device, rows.dtype, shape, address)
        for name, tensor in adapter.items():
            binding.read(name, tensor)
        return binding

    def room_for_logits(self, count: int) -> Tensor:
        """Memory [count, 1, vocabulary] for logits of one position a row."""
        return allocate([count, 1, self.vocabulary], self.types()[1], self._session.device)

    def write_logits(self, binding: Binding, room: Tensor, row: int, count: int) -> None:
        """Logits of `count` rows into that memory, from a row of it on."""
        dtype = self.types()[1]
        address = room.data_ptr() + row * self.vocabulary * dtype.itemsize
        binding.write_at(self._outputs.logits, self._session.device, dtype, [count, 1, self.vocabulary], address)

    def make_logits(self, binding: Binding) -> None:
        """Logits into memory of ONNX Runtime's: `binding.made()` after the run."""
        binding.make(self._outputs.logits, self._session.device)
