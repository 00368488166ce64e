"""LoRA adapters with random numbers for any GGUF model, as PEFT lays them out, without PEFT."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from converters.architectures import describe, layout_of
from converters.peft_folder import CONFIG, WEIGHTS
from server.models import gguf

RANK, ALPHA = 8, 16


def write_random_lora(base: Path, folder: Path, seed: int, loud: float = 0.02) -> Path:
    """Every matrix of attention and MLP; `loud` is the deviation of the second matrices."""
    found = gguf.read(base)
    source = np.random.default_rng(seed)
    tensors = {}
    for name, shape in describe(found).shapes().items():
        if len(shape) == 2 and name.startswith("blk."):
            module = f"base_model.model.{layout_of(found).name(name).removesuffix('.weight')}"
            bound = shape[1] ** -0.5
            tensors[f"{module}.lora_A.weight"] = source.uniform(-bound, bound, (RANK, shape[1])).astype(np.float32)
            tensors[f"{module}.lora_B.weight"] = (source.standard_normal((shape[0], RANK)) * loud).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}))
    return folder
