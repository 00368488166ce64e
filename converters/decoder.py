"""What a decoder is, apart from its weights: enough to draw its graph. Architectures differ in these values alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Activation = Literal["silu", "gelu_tanh"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions: the angle of pair i at position p is p * frequencies[i]; `scale` multiplies sine and cosine."""

    frequencies: npt.NDArray[np.float64]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder-only transformer with grouped-query attention and a gated MLP.

    `windows[i]` is how many positions layer i attends to, the own one included, -1 for all; `ropes[i]` its rotary
    positions. `permuted`: the rows of Q and K are stored in the order of interleaved rotation (GGUF's `llama`) and go
    back to halves. `fused`: Q, K and V are one matrix, gate and up another.
    """

    model_type: str  # what GenAI calls it
    vocabulary: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    epsilon: float
    context: int
    tied: bool  # the head is the embedding
    ropes: tuple[Rope, ...]
    windows: tuple[int, ...]
    activation: Activation = "silu"
    permuted: bool = False
    fused: bool = False
    biased: bool = False  # Q, K and V have biases
    head_norms: bool = False  # each head of Q and K has an RMS norm before its rotation
    post_norms: bool = False  # attention and MLP have an RMS norm after them, too
    embedding_scale: float = 1.0
    attention_scale: float | None = None  # None: 1 / sqrt(head_size)
    final_softcap: float = 0.0  # c: logits become c * tanh(logits / c); 0: they stay
    notes: tuple[str, ...] = ()

    @property
    def wide(self) -> int:
        """Width of all queries."""
        return self.heads * self.head_size

    @property
    def narrow(self) -> int:
        """Width of all keys, and of all values."""
        return self.kv_heads * self.head_size

    @property
    def score_scale(self) -> float:
        """What the products of queries and keys are multiplied by."""
        return self.head_size**-0.5 if self.attention_scale is None else self.attention_scale

    def shapes(self) -> dict[str, Shape]:
        """Every tensor that a file of this decoder has, in NumPy's order of dimensions."""
        found = {"token_embd.weight": (self.vocabulary, self.hidden), "output_norm.weight": (self.hidden,)}
        if not self.tied:
            found["output.weight"] = (self.vocabulary, self.hidden)
        layer = self._matrices() | self._vectors()
        return found | {f"blk.{i}.{name}": shape for i in range(self.layers) for name, shape in layer.items()}

    def _matrices(self) -> dict[str, Shape]:
        found: dict[str, Shape] = {
            "attn_output.weight": (self.hidden, self.wide),
            "ffn_down.weight": (self.hidden, self.feed_forward),
        }
        if self.fused:
            found["attn_qkv.weight"] = (self.wide + 2 * self.narrow, self.hidden)
            found["ffn_up.weight"] = (2 * self.feed_forward, self.hidden)
        else:
            rows = {"attn_q": self.wide, "attn_k": self.narrow, "attn_v": self.narrow}
            rows |= {"ffn_gate": self.feed_forward, "ffn_up": self.feed_forward}
            found |= {f"{part}.weight": (count, self.hidden) for part, count in rows.items()}
        return found

    def _vectors(self) -> dict[str, Shape]:
        sizes = {"attn_norm.weight": self.hidden, "ffn_norm.weight": self.hidden}
        if self.biased:
            sizes |= {"attn_q.bias": self.wide, "attn_k.bias": self.narrow, "attn_v.bias": self.narrow}
        if self.head_norms:
            sizes |= {"attn_q_norm.weight": self.head_size, "attn_k_norm.weight": self.head_size}
        if self.post_norms:
            sizes |= {"post_attention_norm.weight": self.hidden, "post_ffw_norm.weight": self.hidden}
        return {name: (size,) for name, size in sizes.items()}
