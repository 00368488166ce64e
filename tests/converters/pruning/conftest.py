"""Small checkpoints with random weights, of every layout that pruning knows, as transformers writes them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
# Layers of two kinds, fused matrices, biases, norms in other places: what the architectures differ in.
LAYOUTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "phi3": {},
    "gemma3_text": {"layer_types": ["sliding_attention"] * 5 + ["full_attention"]},
}


def write(folder: Path, architecture: str = "llama", kind: torch.dtype = torch.float32) -> Path:
    """A checkpoint with its tokenizer, template and generation config."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[architecture](**SHAPE, **LAYOUTS[architecture])
    factory: Any = AutoModelForCausalLM
    model = factory.from_config(config).to(kind)
    model.config.dtype = kind
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "<s>", "</s>", "<pad>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    kept: Any = PreTrainedTokenizerFast
    fast = kept(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = "{{ messages[0].content }}"
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama."""
    return write(tmp_path_factory.mktemp("checkpoint") / "tiny")
