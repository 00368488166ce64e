"""How Hugging Face names what GGUF names otherwise: tensors and sizes, by architecture.

An architecture of `converters.architectures` says in its `LAYOUT` what is different from Llama.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.models.gguf import Gguf

from .decoder import Decoder

_TOP = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

Config = dict[str, Any]


def _no_more(_decoder: Decoder, _gguf: Gguf) -> Config:
    return {}


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of one architecture. `layer` are those that differ from Llama's; `config` adds what only it has."""

    model_type: str
    architecture: str  # the class of transformers
    layer: dict[str, str] = field(default_factory=dict)
    config: Callable[[Decoder, Gguf], Config] = _no_more
    norm_offset: float = 0.0  # what GGUF's norm weights have more than Hugging Face's

    def name(self, gguf_name: str) -> str:
        """`blk.3.attn_q.weight` as `model.layers.3.self_attn.q_proj.weight`."""
        parts = gguf_name.split(".")
        suffix = parts[-1]
        if parts[0] != "blk":
            return f"{_TOP['.'.join(parts[:-1])]}.{suffix}"
        inner = ".".join(parts[2:-1])
        return f"model.layers.{parts[1]}.{(_LAYER | self.layer)[inner]}.{suffix}"


def config_of(layout: Layout, decoder: Decoder, gguf: Gguf) -> Config:
    """The content of config.json."""
    context = gguf.get("context_length")
    config: Config = {
        "architectures": [layout.architecture],
        "model_type": layout.model_type,
        "vocab_size": decoder.vocabulary,
        "hidden_size": decoder.hidden,
        "intermediate_size": decoder.feed_forward,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "head_dim": decoder.head_size,
        "max_position_embeddings": context if isinstance(context, int) else decoder.context,
        "rms_norm_eps": round(decoder.epsilon, 12),
        "rope_theta": float(gguf.get("rope.freq_base", 10_000.0)),
        "hidden_act": "silu" if decoder.activation == "silu" else "gelu_pytorch_tanh",
        "tie_word_embeddings": decoder.tied,
        "use_cache": True,
    }
    factor = gguf.get("rope.scaling.factor", gguf.get("rope.scale_linear"))
    if gguf.get("rope.scaling.type", "linear") == "linear" and factor:  # what does not say its kind is linear, too
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    return config | layout.config(decoder, gguf)
