"""Gemma 3: five layers with a sliding window to one without, each with rotary positions of its own.

The GGUF writer has added 1 to the norm weights already. See https://arxiv.org/abs/2503.19786, section 2.
"""

from math import sqrt
from typing import Any

import numpy as np

from server.models.gguf import Gguf

from ..decoder import Decoder, Rope
from ..hf_layout import Layout
from . import common

PATTERN = 6  # every sixth layer sees everything
LARGEST = 62  # layers of the 27B model, which scales its queries by the width of the model over the heads


def describe(gguf: Gguf) -> Decoder:
    sizes = common.sizes(gguf)
    layers, hidden, heads, head_size = (sizes[name] for name in ("layers", "hidden", "heads", "head_size"))
    window = common.window(gguf)
    near = Rope(common.frequencies(common.fraction(gguf, "rope.freq_base_swa", 10_000.0, least=1.0), head_size))
    far = common.rope(gguf, head_size)
    slides = [False] * layers if window == -1 else _sliding(gguf, layers)
    return Decoder(
        model_type="gemma3_text",
        ropes=tuple(near if slide else far for slide in slides),
        windows=tuple(window if slide else -1 for slide in slides),
        activation="gelu_tanh",
        head_norms=True,
        post_norms=True,
        embedding_scale=sqrt(hidden),
        attention_scale=sqrt(heads / hidden) if layers == LARGEST else None,
        final_softcap=common.fraction(gguf, "final_logit_softcapping", 0.0, most=1e4),
        **sizes,
    )


def _sliding(gguf: Gguf, layers: int) -> list[bool]:
    """Which layers have the window: every one but each sixth, or as the file says, by a number or layer by layer."""
    found = gguf.get("attention.sliding_window_pattern", PATTERN)
    if isinstance(found, np.ndarray) and found.dtype == np.bool_ and len(found) == layers:
        return [bool(slide) for slide in found]
    every = common.positive(gguf, "attention.sliding_window_pattern", PATTERN)
    return [(layer + 1) % every != 0 for layer in range(layers)]


def _config(decoder: Decoder, gguf: Gguf) -> dict[str, Any]:
    slides = [window != -1 for window in decoder.windows]
    return {
        "layer_types": ["sliding_attention" if slide else "full_attention" for slide in slides],
        # transformers wants a number even where no layer has one
        "sliding_window": next((window for window in decoder.windows if window != -1), decoder.context),
        "rope_local_base_freq": common.fraction(gguf, "rope.freq_base_swa", 10_000.0, least=1.0),
        "query_pre_attn_scalar": round(decoder.score_scale**-2),
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "final_logit_softcapping": decoder.final_softcap or None,
    }


LAYOUT = Layout(
    "gemma3_text",
    "Gemma3ForCausalLM",
    layer={
        "ffn_norm": "pre_feedforward_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    config=_config,
    norm_offset=1.0,
)
