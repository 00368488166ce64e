"""Hyperparameters as the keys of a GGUF file, as llama.cpp's own converter writes them.

See `set_gguf_parameters` in https://github.com/ggml-org/llama.cpp/tree/master/conversion (base.py, and a file an
architecture). Numbers of the same key have the same type there and here.
"""

from math import log, sqrt
from typing import Any

import numpy as np
from gguf import GGUFWriter, RopeScalingType

from server.errors import InvalidValue

from .architectures.gemma3 import LARGEST, PATTERN
from .blocks import Floats
from .checkpoint import finite
from .hyperparameters import Hyperparameters

_LARGEST_FACTOR = 1e30
# Kinds of rotary positions by architecture, beside "default". Llama 3's stretch is a tensor and not a key.
_ROPES = {"llama": {"linear", "llama3"}, "phi3": {"longrope", "su"}}


def add(writer: GGUFWriter, model: Hyperparameters, file_type: int) -> None:
    """Add the keys of an architecture. Raises InvalidValue for what llama.cpp would compute otherwise."""
    _refuse(model)
    if model.architecture == "phi3":
        _add_phi3(writer, model)
    else:
        _add_usual(writer, model)
    if model.architecture == "llama":
        writer.add_vocab_size(model.vocabulary)
        writer.add_rope_dimension_count(model.width)
    if model.architecture == "gemma3":
        writer.add_sliding_window(_window(model))
        if model.final_softcap:
            writer.add_final_logit_softcapping(model.final_softcap)
    writer.add_file_type(file_type)


def extra_tensors(model: Hyperparameters) -> dict[str, Floats]:
    """What llama.cpp keeps as tensors and config.json as numbers: factors of the rotary frequencies."""
    rope = model.rope
    if model.architecture == "llama" and rope["rope_type"] == "llama3":
        return {"rope_freqs.weight": _llama3(model)}
    if model.architecture == "phi3" and rope.get("long_factor"):
        half = _rotated(model) // 2
        return {f"rope_factors_{kind}.weight": _factors(rope.get(f"{kind}_factor"), half) for kind in ("long", "short")}
    return {}


def _add_usual(writer: GGUFWriter, model: Hyperparameters) -> None:
    _add_sizes(writer, model)
    rope = model.rope
    kind = rope["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if model.near_base is not None:
        writer.add_rope_freq_base_swa(model.near_base)
    if model.head_size is not None:
        writer.add_key_length(model.head_size)
        writer.add_value_length(model.head_size)


def _add_sizes(writer: GGUFWriter, model: Hyperparameters) -> None:
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_layer_norm_rms_eps(model.epsilon)


def _add_phi3(writer: GGUFWriter, model: Hyperparameters) -> None:
    _add_sizes(writer, model)
    original = int(model.rope.get("original_max_position_embeddings", model.context))
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_dimension_count(_rotated(model))
    writer.add_rope_freq_base(model.rope["rope_theta"])
    writer.add_sliding_window(model.window or 0)  # none is how llama.cpp knows Phi-4
    if model.rope.get("long_factor"):
        scale = model.context / original
        usual = sqrt(1 + log(scale) / log(original)) if scale > 1 < original else 1.0
        writer.add_rope_scaling_attn_factors(model.rope.get("attention_factor", usual))


def _rotated(model: Hyperparameters) -> int:
    """How many dimensions of each head are rotated."""
    return int(model.rope.get("partial_rotary_factor", 1.0) * model.hidden) // model.heads


def _window(model: Hyperparameters) -> int:
    if model.window is None:
        raise InvalidValue("A Gemma 3 without sliding_window in its config.json cannot be a GGUF file.")
    return model.window


def _factors(stated: Any, count: int) -> Floats:
    numbers = [finite(each) for each in stated] if isinstance(stated, list) else []
    if len(numbers) != count or not all(number is not None and 0 < number < _LARGEST_FACTOR for number in numbers):
        raise InvalidValue(f"The factors of the rotary positions in config.json are not {count} numbers above 0.")
    return np.array(numbers, np.float32)


def _llama3(model: Hyperparameters) -> Floats:
    """What each frequency is divided by. In the order and the float32 of llama.cpp's converter, where torch divides by
    multiplying with the reciprocal, so that the last bit is the same."""
    rope, one = model.rope, np.float32(1)
    factor, context = np.float32(rope.get("factor", 8.0)), rope.get("original_max_position_embeddings", 8192)
    low, high = rope.get("low_freq_factor", 1.0), rope.get("high_freq_factor", 4.0)
    exponents = np.arange(0, model.width, 2, dtype=np.float32) / np.float32(model.width)
    frequencies = one / (float(rope["rope_theta"]) ** exponents.astype(np.float64)).astype(np.float32)
    waves = one / frequencies * np.float32(2 * np.pi)
    smooth = (one / waves * np.float32(context) - np.float32(low)) * (one / np.float32(high - low))
    between = one / ((one - smooth) * (one / factor) + smooth)
    found = np.where(waves < context / high, one, np.where(waves > context / low, factor, between))
    return found.astype(np.float32)


def _refuse(model: Hyperparameters) -> None:
    """A GGUF file has no word for these; llama.cpp would compute something else, and say nothing."""
    kind = model.rope["rope_type"]
    known = {"default"} | _ROPES.get(model.architecture, {"linear"})
    if kind not in known:
        raise InvalidValue(f"Rotary positions of the kind {str(kind)[:60]!r} cannot be converted to GGUF here.")
    if kind == "linear" and "factor" not in model.rope:
        raise InvalidValue("The rotary positions in config.json are linear and name no factor.")
    if model.architecture == "gemma3":
        _refuse_gemma3(model)


def _refuse_gemma3(model: Hyperparameters) -> None:
    stated = model.raw.get("layer_types")
    usual = ["sliding_attention" if (i + 1) % PATTERN else "full_attention" for i in range(model.layers)]
    if stated is not None and stated != usual:
        raise InvalidValue(f"llama.cpp has a Gemma 3 whose every {PATTERN}th layer sees everything; this is another.")
    wanted = model.hidden // model.heads if model.layers == LARGEST else model.width
    scalar = model.raw.get("query_pre_attn_scalar", wanted)
    if scalar != wanted:
        raise InvalidValue(f"llama.cpp scales the queries of a Gemma 3 by {wanted}, and this one wants {scalar}.")
