"""Phi-3, Phi-3.5 and Phi-4-mini: Q, K and V in one tensor, gate and up in another, rotation of a part of each head.

With factors for short and long contexts ("longrope", https://arxiv.org/abs/2402.13753) the short ones are used, and
the context ends where they do.
"""

from math import log, sqrt

from server.models.gguf import Gguf

from ..decoder import Decoder, Rope
from . import common

SHORT = "rope_factors_short.weight"


def describe(gguf: Gguf) -> Decoder:
    sizes = common.sizes(gguf)
    layers, whole = sizes["layers"], sizes["context"]
    rope = common.rope(gguf, sizes["head_size"])
    if SHORT in gguf.tensors:
        original = common.positive(gguf, "rope.scaling.original_context_length", whole)
        scale = common.fraction(gguf, "rope.scaling.attn_factor", _scale(gguf, original), least=0.01, most=100.0)
        rope = Rope(rope.frequencies / common.factors(gguf, SHORT, len(rope.frequencies)), scale)
        sizes["context"] = min(whole, original)
    window = common.window(gguf)
    if window >= sizes["context"]:
        window = -1
    notes = (f"context of {sizes['context']} tokens",) if sizes["context"] < whole else ()
    return Decoder(
        model_type="phi3", ropes=(rope,) * layers, windows=(window,) * layers, fused=True, notes=notes, **sizes
    )


def _scale(gguf: Gguf, original: int) -> float:
    """What sine and cosine are multiplied by in a context beyond the original one (section 3.3 of the paper)."""
    stretch = common.positive(gguf, "context_length") / original
    return sqrt(1 + log(stretch) / log(original)) if stretch > 1 and original > 1 else 1.0
