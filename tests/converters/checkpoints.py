"""Small checkpoints with random weights of every architecture, saved by transformers, with real models' tokenizers."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from converters import genai_folder, tokenizer_json
from converters.architectures import describe
from converters.blocks import Floats
from server.models import gguf

from .outside import PIECE_COUNT

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@dataclass(frozen=True)
class Checkpoint:
    """A model of transformers: its class without `Config` and `ForCausalLM`, and what differs from SIZES."""

    kind: str
    sizes: dict[str, Any]
    dtype: torch.dtype = torch.float32

    def write(self, folder: Path, vocabulary: int, **more: Any) -> Path:
        """Save it into `folder`, where the tokenizer may be already. Values as a training leaves them: none is zero."""
        torch.manual_seed(1)
        prefix = f"{self.kind}Text" if self.kind == "Gemma3" else self.kind
        config = getattr(transformers, f"{prefix}Config")(**SIZES | self.sizes | more, vocab_size=vocabulary)
        model = getattr(transformers, f"{self.kind}ForCausalLM")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model.to(self.dtype).save_pretrained(folder)
        return folder


def write_tokenizer(model: Path, folder: Path) -> int:
    """The tokenizer in a GGUF file as Hugging Face has it; how many tokens there are."""
    folder.mkdir(parents=True, exist_ok=True)
    file = gguf.read(model)
    vocabulary = tokenizer_json.read(file)
    config = genai_folder.tokenizer_config(file, describe(file), vocabulary)
    config |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json.build(vocabulary)), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return len(vocabulary.tokens)


def write_pieces(model: Path, folder: Path) -> None:
    """A tokenizer of SentencePiece, as the makers of Gemma and Phi publish theirs."""
    folder.mkdir(parents=True)
    shutil.copyfile(model, folder / "tokenizer.model")
    added = {
        "3": {"content": "<pad>", "special": True},
        str(PIECE_COUNT): {"content": "\u2581two blanks", "special": False},
    }
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    config |= {"chat_template": TEMPLATE, "added_tokens_decoder": added, "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def computed(folder: Path, tokens: list[int]) -> Floats:
    """The logits of transformers in float32, [len(tokens), vocabulary]."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    model.eval()
    with torch.no_grad():
        found: Floats = model(torch.tensor([tokens])).logits[0].numpy()
    return found
