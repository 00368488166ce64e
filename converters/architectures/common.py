"""What most architectures share: sizes under the usual keys, checked, and rotary frequencies.

A key that is absent has the default that llama.cpp gives it (src/llama-model.cpp, `load_hparams`).
"""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from server.errors import InvalidValue
from server.models.gguf import Gguf

from ..decoder import Rope

LONGEST_CONTEXT = 32_768  # positions the rotary tables are written for; more would weigh more than it is used
ROTATED_TOGETHER = 16  # GroupQueryAttention wants 8 pairs, or a multiple
# Larger than any model of the architectures we know; a hostile file must not make us allocate by its numbers.
_MOST = {"block_count": 512, "embedding_length": 1 << 16, "attention.head_count": 1 << 10, "attention.key_length": 512}
_LAYERED = frozenset({"attention.head_count", "attention.head_count_kv", "feed_forward_length"})


def positive(gguf: Gguf, key: str, default: int | None = None, most: int = 1 << 24) -> int:
    """A whole number above zero under the architecture's prefix. Raises InvalidValue."""
    value: Any = gguf.get(key, default)
    if key in _LAYERED and isinstance(value, np.ndarray) and value.dtype.kind in "iu" and len(set(value.tolist())) == 1:
        value = int(value[0])  # one number a layer, all alike
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST.get(key, most):
        raise bad(gguf, key, value, "a number of the usual size")
    return value


def fraction(gguf: Gguf, key: str, default: float, *, least: float = 0.0, most: float = 1e12) -> float:
    """A finite number in [least, most] under the architecture's prefix. Raises InvalidValue."""
    value: Any = gguf.get(key, default)
    if not isinstance(value, float) or not isfinite(value) or not least <= value <= most:
        raise bad(gguf, key, value, f"a number from {least:g} to {most:g}")
    return value


def bad(gguf: Gguf, key: str, value: object, wanted: str) -> InvalidValue:
    shown = str(value)[:60] if isinstance(value, str | int | float) else type(value).__name__
    return InvalidValue(f"{gguf.path.name}: {gguf.architecture}.{key} is {shown}, not {wanted}.")


def sizes(gguf: Gguf) -> dict[str, Any]:
    """The fields of Decoder that every architecture has under the same keys."""
    heads = positive(gguf, "attention.head_count")
    hidden = positive(gguf, "embedding_length")
    head_size = positive(gguf, "attention.key_length", max(hidden // heads, 1))
    kv_heads = positive(gguf, "attention.head_count_kv", heads)
    if heads % kv_heads or head_size % 8 or positive(gguf, "attention.value_length", head_size) != head_size:
        raise InvalidValue(f"{gguf.path.name}: {heads} heads, {kv_heads} for keys, of size {head_size}: not supported.")
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise InvalidValue(f"{gguf.path.name} has no vocabulary.")
    return {
        "vocabulary": len(tokens),
        "layers": positive(gguf, "block_count"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_size": head_size,
        "feed_forward": positive(gguf, "feed_forward_length"),
        "epsilon": fraction(gguf, "attention.layer_norm_rms_epsilon", 1e-5, least=1e-12, most=0.1),
        "context": min(positive(gguf, "context_length"), LONGEST_CONTEXT),
        "tied": "output.weight" not in gguf.tensors,
    }


def frequencies(base: float, dimension: int) -> npt.NDArray[np.float64]:
    """base ** (-2 i / dimension) for each pair i (Su et al., RoFormer, 2021, section 3.2.2)."""
    return np.power(np.float64(base), -np.arange(0, dimension, 2, dtype=np.float64) / dimension)


def rope(gguf: Gguf, head_size: int) -> Rope:
    """The rotary positions of the usual keys: base, dimension, linear scaling, and factors a frequency."""
    base = fraction(gguf, "rope.freq_base", 10_000.0, least=1.0)
    dimension = positive(gguf, "rope.dimension_count", head_size)
    if dimension % ROTATED_TOGETHER or dimension > head_size:
        raise InvalidValue(f"{gguf.path.name}: rotary positions over {dimension} of {head_size}: not supported.")
    found = frequencies(base, dimension)
    kind = gguf.get("rope.scaling.type", "linear")
    if not isinstance(kind, str) or kind not in {"none", "linear", "longrope"}:
        raise bad(gguf, "rope.scaling.type", kind, "a kind that is supported (none, linear, longrope)")
    if kind == "linear":
        legacy = fraction(gguf, "rope.scale_linear", 1.0, most=1e4)
        found = found / (fraction(gguf, "rope.scaling.factor", legacy, most=1e4) or 1.0)
    if "rope_freqs.weight" in gguf.tensors:
        found = found / factors(gguf, "rope_freqs.weight", dimension // 2)
    return Rope(found)


def factors(gguf: Gguf, name: str, count: int) -> npt.NDArray[np.float64]:
    """A tensor with a positive divisor for each frequency."""
    info = gguf.tensors[name]
    if info.kind != "F32" or info.shape != (count,):
        raise InvalidValue(f"{gguf.path.name}: {name} is {info.kind} {list(info.shape)}, not F32 [{count}].")
    found = gguf.raw(info).view("<f4").astype(np.float64)
    if not (np.isfinite(found) & (found > 0)).all():
        raise InvalidValue(f"{gguf.path.name}: {name} has factors that are not positive.")
    return found


def window(gguf: Gguf) -> int:
    """Positions that a layer with a sliding window attends to; -1 where the file names none, or 0 (Phi-4)."""
    stated = gguf.get("attention.sliding_window")
    if stated is None or (isinstance(stated, int) and stated == 0):
        return -1
    return positive(gguf, "attention.sliding_window")
