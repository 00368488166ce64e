"""Phi-3, Phi-3.5 and Phi-4-mini: Q, K and V in one tensor, gate and up in another, rotation of a part of each head.

With factors for short and long contexts ("longrope", https://arxiv.org/abs/2402.13753) the short ones are used, and
the context ends where they do.
"""

from math import isclose, log, sqrt
from typing import Any

from server.models.gguf import Gguf

from ..decoder import Decoder, Rope
from ..hf_layout import Layout
from . import common

SHORT, LONG = "rope_factors_short.weight", "rope_factors_long.weight"


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


def _config(decoder: Decoder, gguf: Gguf) -> dict[str, Any]:
    rotated = len(decoder.ropes[0].frequencies)
    window = common.window(gguf)
    config: dict[str, Any] = {
        "partial_rotary_factor": 2 * rotated / decoder.head_size,
        "sliding_window": None if window == -1 else window,
        "attention_bias": False,
        "pad_token_id": gguf.metadata.get("tokenizer.ggml.padding_token_id"),
    }
    if SHORT in gguf.tensors and LONG in gguf.tensors:
        original = common.positive(gguf, "rope.scaling.original_context_length", decoder.context)
        config["original_max_position_embeddings"] = original
        short, long = (common.factors(gguf, name, rotated).tolist() for name in (SHORT, LONG))
        scaling = {"type": "longrope", "short_factor": short, "long_factor": long}
        if not isclose(decoder.ropes[0].scale, _scale(gguf, original), rel_tol=1e-6):
            scaling["attention_factor"] = decoder.ropes[0].scale
        config["rope_scaling"] = scaling
    return config


LAYOUT = Layout(
    "phi3",
    "Phi3ForCausalLM",
    layer={"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"},
    config=_config,
)
