"""LoRA adapters made by PEFT, whose second matrices are not zero as at the start of a training."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers

from converters.blocks import Floats

peft: Any = import_module("peft")  # its types lead into those of all of torch

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]  # of Phi-3


def checkpoint(folder: Path) -> Any:
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def write_lora(base: Path, folder: Path, seed: int = 0, loud: float = 0.02, **options: Any) -> Path:
    """An adapter of a checkpoint, as `save_pretrained` leaves it; `loud` is the deviation of the second matrices."""
    torch.manual_seed(seed)
    options = {"r": 8, "lora_alpha": 16, "target_modules": EVERY, "task_type": "CAUSAL_LM"} | options
    model = peft.get_peft_model(checkpoint(base), peft.LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=loud)
    model.save_pretrained(folder)
    return folder


def adapted(base: Path, adapter: Path, tokens: list[int]) -> Floats:
    """The logits of PEFT, [len(tokens), vocabulary]."""
    model = peft.PeftModel.from_pretrained(checkpoint(base), adapter).eval()
    with torch.no_grad():
        found: Floats = model(torch.tensor([tokens])).logits[0].numpy()
    return found
