"""How the vectors of a text's tokens become one. Pure; names and formulas are those of sentence-transformers."""

from collections.abc import Sequence

import numpy as np

from ...models.encoder_folder import Pooling
from ..base import FloatRows


def pooled(states: FloatRows, lengths: Sequence[int], how: Pooling) -> FloatRows:
    """One vector a row, [rows, hidden], of `states` [rows, longest, hidden]; what is past a row's length is padding."""
    if how == "max":
        return np.stack([row[:length].max(axis=0) for row, length in zip(states, lengths, strict=True)])
    found: FloatRows = np.matmul(shares(lengths, states.shape[1], how)[:, None, :], states)[:, 0]
    return found


def shares(lengths: Sequence[int], longest: int, how: Pooling) -> FloatRows:
    """How much each token counts, [rows, longest]; padding counts nothing."""
    count = np.asarray(lengths, np.float32)[:, None]
    place = np.arange(longest, dtype=np.float32)[None, :]
    inside = (place < count).astype(np.float32)
    found: FloatRows
    match how:
        case "cls":
            found = np.broadcast_to(place == 0, inside.shape).astype(np.float32)
        case "lasttoken":
            found = (place == count - 1).astype(np.float32)
        case "mean_sqrt_len_tokens":
            found = np.divide(inside, np.sqrt(count), dtype=np.float32)
        case "weightedmean":
            found = np.divide(inside * (place + 1), count * (count + 1) / 2, dtype=np.float32)
        case _:
            found = inside / count
    return found


def normalised(vectors: FloatRows) -> FloatRows:
    """Each row at length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatRows = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
