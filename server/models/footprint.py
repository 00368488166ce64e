"""The memory a model takes when it is served: weights, and KV entries at the context that is asked for. Bytes."""

from math import prod
from pathlib import Path

from . import genai_config, gguf
from .spec import Format

HALF, SINGLE = 2, 4  # bytes of a KV entry: llama.cpp keeps 16 bits, our ONNX graphs 32
# Of the weights' size: ONNX Runtime packs 8-bit and 4-bit blocks anew for its kernels and drops what it read.
PACKED = 1.3


def needed(path: Path, form: Format, size: int, context: int, slots: int) -> int:
    """Bytes to serve the artifact at `path`, of `size` bytes.

    llama.cpp takes the KV memory of all slots when it loads. The ONNX engines take it as sequences grow, so there one
    sequence of full length has to fit. Raises InvalidValue for an artifact that cannot be read.
    """
    match form:
        case "gguf":
            return size + slots * context * _gguf_kv(path)
        case "onnx":
            return int(size * PACKED) + context * _onnx_kv(path)
        case "safetensors":
            return size
        case "fake":
            return 0


def _gguf_kv(path: Path) -> int:
    """KV bytes of one token over all layers; 0 where the header does not say."""
    found = gguf.read(path)
    layers, heads = found.get("block_count", 0), found.get("attention.head_count_kv", found.get("attention.head_count"))
    width, all_heads = found.get("embedding_length", 0), found.get("attention.head_count", 0)
    if not all(isinstance(value, int) and value > 0 for value in (layers, heads, width, all_heads)):
        return 0  # a number a layer, or none at all: llama.cpp will say when it is too much
    key = found.get("attention.key_length", width // all_heads)
    value = found.get("attention.value_length", key)
    return int(layers * heads * (key + value) * HALF)


def _onnx_kv(folder: Path) -> int:
    if not (folder / "genai_config.json").exists():
        return 0  # an encoder keeps nothing
    decoder = genai_config.read(folder).model.decoder
    return 2 * decoder.num_hidden_layers * decoder.num_key_value_heads * decoder.head_size * SINGLE


def parameters(path: Path) -> int | None:
    """Number of weights of a GGUF file. Raises InvalidValue."""
    found = gguf.read(path)
    return sum(prod(info.shape) for info in found.tensors.values()) or None
