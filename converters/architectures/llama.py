"""Llama, and what is built like it: SmolLM2, Mistral, TinyLlama. GGUF stores the rows of Q and K permuted."""

from server.errors import InvalidValue
from server.models.gguf import Gguf

from ..decoder import Decoder
from . import common


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
