"""Small GGUF files with random weights, of every architecture that converts, written by the `gguf` package."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from server.models.tokenizer import BYTES_OF

Change = Callable[[GGUFWriter], None]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Small:
    """A model. `keys` are written under the architecture's prefix; `extra` tensors hold the values given."""

    architecture: str
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    feed_forward: int = 96
    context: int = 256
    tied: bool = True
    fused: bool = False
    biased: bool = False
    head_norms: bool = False
    post_norms: bool = False
    pieces: bool = False  # a SentencePiece vocabulary; else byte-level BPE
    cut: str = "gpt-2"
    merges: tuple[str, ...] = ("t h", "h e", "i n", "a n", "th e", "in g", "an d", "\u0120 t", "e r", "o n")
    keys: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def shapes(self) -> Shapes:
        """Written apart from `Decoder.shapes`, against which it is a check."""
        hidden, width = self.hidden, self.feed_forward
        wide, narrow = self.heads * self.head_size, self.kv_heads * self.head_size
        queries = {"q": wide, "k": narrow, "v": narrow}
        layer: Shapes = {"attn_norm.weight": (hidden,), "ffn_norm.weight": (hidden,)}
        layer |= {"attn_output.weight": (hidden, wide), "ffn_down.weight": (hidden, width)}
        if self.fused:
            layer |= {"attn_qkv.weight": (wide + 2 * narrow, hidden), "ffn_up.weight": (2 * width, hidden)}
        else:
            layer |= {f"attn_{part}.weight": (rows, hidden) for part, rows in queries.items()}
            layer |= {"ffn_gate.weight": (width, hidden), "ffn_up.weight": (width, hidden)}
        if self.biased:
            layer |= {f"attn_{part}.bias": (rows,) for part, rows in queries.items()}
        if self.head_norms:
            layer |= {"attn_q_norm.weight": (self.head_size,), "attn_k_norm.weight": (self.head_size,)}
        if self.post_norms:
            layer |= {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}
        vocabulary = len(tokens_of(self)[0])
        whole: Shapes = {"token_embd.weight": (vocabulary, hidden), "output_norm.weight": (hidden,)}
        if not self.tied:
            whole["output.weight"] = (vocabulary, hidden)
        return whole | {f"blk.{i}.{name}": shape for i in range(self.layers) for name, shape in layer.items()}


def tokens_of(model: Small) -> tuple[list[str], list[int]]:
    """The tokens of a vocabulary and ggml's types of them."""
    words = [merge.replace(" ", "").replace("\u0120", "\u2581" if model.pieces else "\u0120") for merge in model.merges]
    if model.pieces:
        special = ["<unk>", "<s>", "</s>"]
        tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *map(chr, range(97, 123)), *words]
        return tokens, [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*BYTES_OF, *words, *special]
    return tokens, [1] * (len(tokens) - len(special)) + [3] * len(special)


def write(path: Path, model: Small, change: Change = lambda writer: None, seed: int = 0) -> Path:
    """Write the model; `change` may set further keys before the file is closed."""
    writer = GGUFWriter(path, model.architecture)
    writer.add_name("small")
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_size)
    writer.add_value_length(model.head_size)
    for key, value in ({"attention.layer_norm_rms_epsilon": 1e-5} | model.keys).items():
        add(writer, f"{model.architecture}.{key}", value)
    _add_vocabulary(writer, model)
    change(writer)
    source = np.random.default_rng(seed)
    for name, shape in model.shapes().items():
        writer.add_tensor(name, random_weights(source, name, shape))
    for name, values in model.extra.items():
        writer.add_tensor(name, np.asarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    """A metadata value of the type that Python's says."""
    adders: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    adders[type(value)](key, value)


def random_weights(source: np.random.Generator, name: str, shape: tuple[int, ...]) -> Any:
    """Float32. Large enough for attention to choose and for logits to differ; norms around one, biases around zero."""
    if name.endswith("norm.weight"):
        values = 1 + 0.3 * source.standard_normal(shape)
    elif name.endswith("bias"):
        values = source.standard_normal(shape)
    else:
        gain = {"attn_q.weight": 2.0, "attn_k.weight": 2.0, "attn_qkv.weight": 1.6}.get(name.partition(".")[2], 1.2)
        values = source.standard_normal(shape) * gain / np.sqrt(shape[-1])
    return values.astype(np.float32)


def _add_vocabulary(writer: GGUFWriter, model: Small) -> None:
    tokens, types = tokens_of(model)
    writer.add_tokenizer_model("llama" if model.pieces else "gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if model.pieces:
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        return
    writer.add_tokenizer_pre(model.cut)
    writer.add_token_merges(model.merges)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
