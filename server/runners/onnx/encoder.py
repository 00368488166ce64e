"""Encoders: a folder in the layout of sentence-transformers whose weights are an ONNX graph.

The graph takes `input_ids` and `attention_mask` (and `token_type_ids` where it has them) [B, S] int64 and gives the
vectors of all tokens [B, S, hidden]; pooling and scaling are done here.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import EngineFailed, InvalidValue, LoadFailed
from ...models.encoder_folder import GRAPH, EncoderFolder, read
from ...models.tokenizer import JsonTokenizer
from ..base import EncoderInfo, FloatRows, Placement, ReportProgress
from .pooling import normalised, pooled
from .session import RunFailed, Session, open_session

BATCH_TOKENS = 2048
REQUIRED, OPTIONAL = {"input_ids", "attention_mask"}, {"token_type_ids"}


class OnnxEncoder:
    """One graph. A batch is padded to its longest row."""

    def __init__(
        self, session: Session, folder: EncoderFolder, tokenizer: JsonTokenizer, context: int, output: str
    ) -> None:
        self._session = session
        self._folder = folder
        self._output = output
        self.tokenizer = tokenizer
        self.info = EncoderInfo(folder.vocab_size, context, folder.dimension, BATCH_TOKENS)

    def encode(self, rows: Sequence[Sequence[int]]) -> FloatRows:
        lengths = [len(row) for row in rows]
        assert lengths, "no rows"
        assert min(lengths) > 0, "an empty row"
        assert max(lengths) <= self.info.context_length, "past the context"
        ids = np.full((len(rows), max(lengths)), self._folder.pad, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        binding = self._session.binding()
        for name in self._session.inputs:
            binding.feed(name, {"input_ids": ids, "attention_mask": mask}.get(name, np.zeros_like(ids)))
        binding.make(self._output, "cpu")
        try:
            binding.run()
        except RunFailed as failed:
            raise EngineFailed(f"The onnx engine could not compute embeddings: {failed}") from None
        vectors = pooled(binding.made().numpy().astype(np.float32, copy=False), lengths, self._folder.pooling)
        return normalised(vectors) if self._folder.normalise else vectors

    def close(self) -> None:
        self._session.close()


def load_encoder(artifact: Path, placement: Placement, report: ReportProgress) -> OnnxEncoder:
    """Load a folder. Raises LoadFailed with the reason."""
    try:
        folder = read(artifact)
        tokenizer = JsonTokenizer(artifact, frozenset(), None)
    except InvalidValue as error:
        raise LoadFailed(error.message) from None
    report(0.2)
    if not (artifact / GRAPH).is_file():
        raise LoadFailed(f"{artifact.name} has no {GRAPH}.")
    session = open_session(artifact / GRAPH, placement)
    inputs = set(session.inputs)
    if not REQUIRED <= inputs <= REQUIRED | OPTIONAL:
        raise LoadFailed(f"{artifact.name} is no encoder: its graph takes {', '.join(sorted(inputs))}.")
    output = next((name for name, value in session.outputs.items() if len(value.shape) == 3), None)
    if output is None:
        raise LoadFailed(f"{artifact.name} is no encoder: its graph gives no vector a token.")
    context = min(folder.context_length, placement.context or folder.context_length)
    encoder = OnnxEncoder(session, folder, tokenizer, context, output)
    _prove(encoder, artifact)
    report(1.0)
    return encoder


def _prove(encoder: OnnxEncoder, folder: Path) -> None:
    """Run two rows, one of full length: what the configuration got wrong about the graph shows here."""
    try:
        found = encoder.encode([[0] * encoder.info.context_length, [0]])
    except EngineFailed as failed:
        encoder.close()
        raise LoadFailed(f"The onnx engine cannot run {folder.name}: {failed}") from None
    if found.shape != (2, encoder.info.dimension):
        encoder.close()
        raise LoadFailed(f"{folder.name} gives {found.shape[1]} numbers a text; config.json says otherwise.")
