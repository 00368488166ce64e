"""Qwen3: each head of Q and K has an RMS norm before its rotation."""

from server.models.gguf import Gguf

from ..decoder import Decoder
from ..hf_layout import Layout
from . import common

LAYOUT = Layout("qwen3", "Qwen3ForCausalLM")


def describe(gguf: Gguf) -> Decoder:
    sizes = common.sizes(gguf)
    layers = sizes["layers"]
    ropes = (common.rope(gguf, sizes["head_size"]),) * layers
    return Decoder(model_type="qwen3", ropes=ropes, windows=(-1,) * layers, head_norms=True, **sizes)
