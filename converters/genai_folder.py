"""The files beside the graph, as ONNX Runtime GenAI has them: `genai_config.json`, tokenizer and chat template."""

import json
from pathlib import Path
from typing import Any

from server.models.gguf import Gguf

from . import tokenizer_json
from .decoder import Decoder
from .tokenizer_json import Vocabulary, end_ids, token_id


def write(folder: Path, gguf: Gguf, decoder: Decoder) -> None:
    """Write all of them into `folder`. Raises InvalidValue for a vocabulary that cannot be rebuilt."""
    vocabulary = tokenizer_json.read(gguf)
    template = gguf.metadata.get("tokenizer.chat_template")
    _dump(folder / "tokenizer.json", tokenizer_json.build(vocabulary))
    _dump(folder / "tokenizer_config.json", tokenizer_config(gguf, decoder, vocabulary))
    _dump(folder / "genai_config.json", genai_config(gguf, decoder, vocabulary))
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def genai_config(gguf: Gguf, decoder: Decoder, vocabulary: Vocabulary) -> dict[str, Any]:
    """The model and how to search, with the names of the graph's inputs and outputs."""
    ends = end_ids(gguf, vocabulary)
    pad = token_id(gguf, "padding", decoder.vocabulary)
    cache = {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
    present = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    model = {
        "bos_token_id": ends[0] if vocabulary.bos is None else vocabulary.bos,
        "eos_token_id": ends,
        "pad_token_id": ends[0] if pad is None else pad,
        "context_length": decoder.context,
        "vocab_size": decoder.vocabulary,
        "type": decoder.model_type,
        "decoder": {
            "session_options": {"provider_options": []},
            "filename": "model.onnx",
            "head_size": decoder.head_size,
            "hidden_size": decoder.hidden,
            "num_attention_heads": decoder.heads,
            "num_hidden_layers": decoder.layers,
            "num_key_value_heads": decoder.kv_heads,
            "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask", **cache},
            "outputs": {"logits": "logits", **present},
        },
    }
    search = {"do_sample": False, "max_length": decoder.context, "min_length": 0, "past_present_share_buffer": True}
    return {"model": model, "search": search}


def tokenizer_config(gguf: Gguf, decoder: Decoder, vocabulary: Vocabulary) -> dict[str, Any]:
    """What transformers reads of a tokenizer; GenAI takes the class from it."""
    tokens = vocabulary.tokens
    config: dict[str, Any] = {
        "tokenizer_class": "LlamaTokenizer" if vocabulary.kind == "llama" else "GPT2Tokenizer",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": vocabulary.leads,
        "add_prefix_space": vocabulary.space_prefix,
        "model_max_length": decoder.context,
        "added_tokens_decoder": {str(token.pop("id")): token for token in tokenizer_json.added(vocabulary)},
    }
    for key, name in (("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown")):
        number = token_id(gguf, name, len(tokens))
        if number is not None:
            config[key] = tokens[number]
    return config


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
