"""LoRA over a base in few bits: NF4 by bitsandbytes on CUDA, int8 by torchao elsewhere. What is saved is PEFT's folder.

On a processor int8 saves memory and costs time: the weights are made floats again in every product.
"""

import warnings
from pathlib import Path
from typing import Any

import torch

from server.errors import CupolaError

from ..model import load_model
from ..recipe import Recipe
from . import lora

save = lora.save


def prepare(recipe: Recipe, base: Path) -> Any:
    """The quantised checkpoint with adapters. Raises CupolaError where the library that quantises is not installed."""
    try:
        model = _in_four_bits(base) if torch.cuda.is_available() else _in_eight_bits(base)
    except ImportError as error:
        raise CupolaError(
            f"qlora needs {error.name or 'bitsandbytes'}. Install it with: pip install 'cupola[qlora]'; or take"
            " method: lora, which needs more memory and is faster on a processor."
        ) from None
    with warnings.catch_warnings():  # it cannot merge into int8; our merge takes the checkpoint itself
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated", category=UserWarning)
        return lora.adapted(model, recipe)


def _in_four_bits(base: Path) -> Any:
    import bitsandbytes  # noqa: F401  # what is missing is said by its name
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # type: ignore[no-untyped-call]
    return load_model(base, quantization_config=config)


def _in_eight_bits(base: Path) -> Any:
    """The embedding and the output stay floats, as the losses of small models are most sensitive there."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = load_model(base)
    head = model.get_output_embeddings()
    quantize_(
        model, Int8WeightOnlyConfig(), filter_fn=lambda part, _: isinstance(part, torch.nn.Linear) and part is not head
    )
    return model
