"""Qwen2 and Qwen2.5: biases on Q, K and V."""

from server.models.gguf import Gguf

from ..decoder import Decoder
from ..hf_layout import Layout
from . import common

LAYOUT = Layout("qwen2", "Qwen2ForCausalLM")


def describe(gguf: Gguf) -> Decoder:
    sizes = common.sizes(gguf)
    layers = sizes["layers"]
    ropes = (common.rope(gguf, sizes["head_size"]),) * layers
    return Decoder(model_type="qwen2", ropes=ropes, windows=(-1,) * layers, biased=True, **sizes)
