"""A BERT encoder as a GGUF file, in the way of llama.cpp's own converter (convert_hf_to_gguf.py, class BertModel)."""

import json
from pathlib import Path
from typing import Any

import gguf

from converters import encoder_config, safetensors_file

NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
TABLES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
SPECIALS = {"[CLS]": "add_bos_token_id", "[SEP]": "add_sep_token_id", "[UNK]": "add_unk_token_id",
            "[PAD]": "add_pad_token_id", "[MASK]": "add_mask_token_id"}  # fmt: skip


def write_bert(folder: Path, path: Path, pooling: gguf.PoolingType | None = gguf.PoolingType.MEAN) -> Path:
    """Write `path` from a folder with safetensors, in float32."""
    config = encoder_config.read(folder / "config.json")
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    _vocabulary(writer, json.loads((folder / "tokenizer.json").read_text()))
    _tensors(writer, safetensors_file.read(folder / "model.safetensors"), config.num_hidden_layers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(writer: gguf.GGUFWriter, tokenizer: dict[str, Any]) -> None:
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = [t if t in special else t[2:] if t.startswith("##") else f"\u2581{t}" for t in vocabulary]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in vocabulary])
    writer.add_token_type_count(2)
    for token, method in SPECIALS.items():
        getattr(writer, method)(vocabulary.index(token))


def _tensors(writer: gguf.GGUFWriter, file: safetensors_file.Safetensors, layers: int) -> None:
    names = TABLES | {
        f"encoder.layer.{layer}.{name}": f"blk.{layer}.{short}"
        for layer in range(layers)
        for name, short in NAMES.items()
    }
    for name, short in names.items():
        for part in ("weight", "bias"):
            if entry := file.entries.get(f"{name}.{part}"):
                writer.add_tensor(f"{short}.{part}", file.floats(f"{name}.{part}", *entry.shape))
