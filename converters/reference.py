"""The truth that artifacts are measured against: a forward of the dequantised GGUF in float32, in NumPy alone.

Weights are taken apart when they are used, so that memory is one slab of a matrix plus the activations of all tokens.
The formulas are those of Llama (Touvron et al., 2023, section 2.2) with what `Decoder` says is different.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from server.models.gguf import Gguf

from .architectures import describe
from .blocks import Floats
from .decoder import Decoder, Rope
from .tensors import Tensors, as_floats


def logits(gguf: Gguf, tokens: list[int], positions: Sequence[int]) -> Floats:
    """float32 [len(positions), vocabulary]: row i scores what follows token `positions[i]`. Raises InvalidValue."""
    forward = Forward(gguf)
    return forward.head(forward.hidden(tokens)[list(positions)])


class GgufReference:
    """A file as a source of rows for `quality.measure`."""

    def __init__(self, gguf: Gguf) -> None:
        self.name = f"float32 forward of {gguf.path.name}"
        self._forward = Forward(gguf)

    def rows(self, tokens: list[int], step: int) -> Iterator[Floats]:
        """The logits of all positions in order, `step` of them at a time."""
        hidden = self._forward.hidden(tokens)
        for start in range(0, len(tokens), step):
            yield self._forward.head(hidden[start : start + step])


class Forward:
    """One file's layers, computed one after the other over all tokens of one sequence."""

    def __init__(self, gguf: Gguf) -> None:
        self._decoder = describe(gguf)
        self._tensors = Tensors(gguf, self._decoder)

    def hidden(self, tokens: list[int]) -> Floats:
        """What goes into the head, [len(tokens), hidden]."""
        decoder = self._decoder
        x = self._tensors.rows("token_embd.weight", tokens) * np.float32(decoder.embedding_scale)
        for layer in range(decoder.layers):
            x = x + self._attention(layer, self._norm(x, f"blk.{layer}.attn_norm"))
            x = x + self._feed_forward(layer, self._norm(x, f"blk.{layer}.ffn_norm"))
        return self._norm(x, "output_norm")

    def head(self, hidden: Floats) -> Floats:
        """Logits, [rows, vocabulary]."""
        decoder = self._decoder
        found = self._linear(hidden, "token_embd" if decoder.tied else "output", decoder.vocabulary)
        if decoder.final_softcap:
            cap = np.float32(decoder.final_softcap)
            np.tanh(found / cap, out=found)
            found *= cap
        return found

    def _attention(self, layer: int, x: Floats) -> Floats:
        decoder, name = self._decoder, f"blk.{layer}"
        q, k, v = (part.reshape(len(x), -1, decoder.head_size) for part in self._queries(layer, x))
        if decoder.head_norms:
            q, k = self._norm(q, f"{name}.attn_q_norm"), self._norm(k, f"{name}.attn_k_norm")
        q, k = rotated(q, decoder.ropes[layer]), rotated(k, decoder.ropes[layer])
        seen = visible(len(x), decoder.windows[layer])
        group = decoder.heads // decoder.kv_heads
        mixed = np.empty_like(q)
        for head in range(decoder.heads):
            scores = q[:, head] @ k[:, head // group].T * np.float32(decoder.score_scale)
            mixed[:, head] = softmax(np.where(seen, scores, -np.inf)) @ v[:, head // group]
        out = self._linear(mixed.reshape(len(x), -1), f"{name}.attn_output", decoder.hidden)
        return self._norm(out, f"{name}.post_attention_norm") if decoder.post_norms else out

    def _queries(self, layer: int, x: Floats) -> list[Floats]:
        """Query, key and value of all heads."""
        decoder, name = self._decoder, f"blk.{layer}"
        if decoder.fused:
            joined = self._linear(x, f"{name}.attn_qkv", decoder.wide + 2 * decoder.narrow)
            return np.split(joined, [decoder.wide, decoder.wide + decoder.narrow], axis=1)
        widths = {"attn_q": decoder.wide, "attn_k": decoder.narrow, "attn_v": decoder.narrow}
        found = [self._linear(x, f"{name}.{part}", width) for part, width in widths.items()]
        if decoder.biased:
            found = [y + self._tensors.vector(f"{name}.{part}.bias") for y, part in zip(found, widths, strict=True)]
        return found

    def _feed_forward(self, layer: int, x: Floats) -> Floats:
        decoder, name, width = self._decoder, f"blk.{layer}", self._decoder.feed_forward
        if decoder.fused:
            gate, up = np.split(self._linear(x, f"{name}.ffn_up", 2 * width), 2, axis=1)
        else:
            gate, up = (self._linear(x, f"{name}.{part}", width) for part in ("ffn_gate", "ffn_up"))
        out = self._linear(activated(gate, decoder) * up, f"{name}.ffn_down", decoder.hidden)
        return self._norm(out, f"{name}.post_ffw_norm") if decoder.post_norms else out

    def _norm(self, x: Floats, name: str) -> Floats:
        """RMS norm over the last axis (Zhang and Sennrich, 2019)."""
        scale = 1 / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(self._decoder.epsilon))
        normed: Floats = x * scale * self._tensors.vector(f"{name}.weight")
        return normed

    def _linear(self, x: Floats, name: str, width: int) -> Floats:
        """x [rows, K] times the transpose of a matrix [width, K], a slab of it at a time."""
        y = np.empty((len(x), width), np.float32)
        start = 0
        for slab in self._tensors.slabs(f"{name}.weight"):
            part = as_floats(slab)
            np.matmul(x, part.T, out=y[:, start : start + len(part)])
            start += len(part)
        return y


def rotated(x: Floats, rope: Rope) -> Floats:
    """x [positions, heads, size] with its first dimensions rotated in pairs (i, i + half); the others stay."""
    half = len(rope.frequencies)
    angles = np.outer(np.arange(len(x), dtype=np.float64), rope.frequencies)
    cos, sin = ((f(angles) * rope.scale).astype(np.float32)[:, None] for f in (np.cos, np.sin))
    first, second = x[..., :half], x[..., half : 2 * half]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :]], axis=-1)


def visible(count: int, window: int) -> npt.NDArray[np.bool_]:
    """Which positions (columns) each position (rows) attends to."""
    distance = np.arange(count)[:, None] - np.arange(count)
    return (distance >= 0) & (distance < (window if window > 0 else count))


def softmax(scores: Floats) -> Floats:
    weights: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def activated(x: Floats, decoder: Decoder) -> Floats:
    """SiLU, x * sigmoid(x), or the tanh form of GELU (Hendrycks and Gimpel, 2016)."""
    active: Floats
    if decoder.activation == "silu":
        with np.errstate(over="ignore"):  # exp of a large number is infinite, and the quotient 0, as it should be
            active = x / (1 + np.exp(-x))
    else:
        inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
        active = np.float32(0.5) * x * (1 + np.tanh(inner))
    return active
