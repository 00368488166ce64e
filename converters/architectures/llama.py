"""Llama, and what is built like it: SmolLM2, Mistral, TinyLlama. GGUF stores the rows of Q and K permuted."""

from math import pi
from typing import Any

import numpy as np

from server.errors import InvalidValue
from server.models.gguf import Gguf

from ..decoder import Decoder
from ..hf_layout import Layout
from . import common

FREQUENCIES = "rope_freqs.weight"
# How Llama 3 stretches its rotary positions: factor, of low, of high frequencies, context before. GGUF keeps only what
# comes of it, so config.json gets the one of which it comes.
LLAMA3 = tuple({"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0} for factor in (8.0, 32.0))
LLAMA3_CONTEXT = 8192


def describe(gguf: Gguf) -> Decoder:
    sizes = common.sizes(gguf)
    layers, head_size = sizes["layers"], sizes["head_size"]
    rope = common.rope(gguf, head_size)
    if 2 * len(rope.frequencies) != head_size:  # the rows are permuted over whole heads
        raise InvalidValue(f"{gguf.path.name}: rotary positions over a part of each head are not supported here.")
    return Decoder(
        model_type="llama",
        ropes=(rope,) * layers,
        windows=(-1,) * layers,
        permuted=True,
        biased="blk.0.attn_q.bias" in gguf.tensors,
        **sizes,
    )


def _config(decoder: Decoder, gguf: Gguf) -> dict[str, Any]:
    config: dict[str, Any] = {"attention_bias": decoder.biased, "mlp_bias": False}
    if FREQUENCIES not in gguf.tensors:
        return config
    found = common.factors(gguf, FREQUENCIES, decoder.head_size // 2)
    plain = common.frequencies(common.fraction(gguf, "rope.freq_base", 10_000.0, least=1.0), decoder.head_size)
    for stretch in LLAMA3:
        if np.allclose(found, stretched(plain, **stretch), rtol=1e-4):
            scaling = {"rope_type": "llama3", **stretch, "original_max_position_embeddings": LLAMA3_CONTEXT}
            return config | {"rope_scaling": scaling}
    raise InvalidValue(f"{gguf.path.name} stretches its rotary positions in a way that config.json has no words for.")


def stretched(
    plain: "np.ndarray[Any, np.dtype[np.float64]]", factor: float, low_freq_factor: float, high_freq_factor: float
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """What each frequency is divided by: long waves by `factor`, short ones not, those between by something between.

    As transformers' `_compute_llama3_parameters` has it.
    """
    waves = 2 * pi / plain
    smooth = (LLAMA3_CONTEXT / waves - low_freq_factor) / (high_freq_factor - low_freq_factor)
    between = 1 / ((1 - smooth) / factor + smooth)
    long, short = waves > LLAMA3_CONTEXT / low_freq_factor, waves < LLAMA3_CONTEXT / high_freq_factor
    return np.where(long, factor, np.where(short, 1.0, between))


LAYOUT = Layout("llama", "LlamaForCausalLM", config=_config)
