"""A checkpoint as a PyTorch model. Nothing but safetensors is read, and no code of the folder runs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils import logging as hf_logging

from server.errors import InvalidValue

from ..positions import reach

UNTOLD = 2048  # tokens, of a model whose configuration names no end: what Bloom, MPT and Mamba were trained with


def load_model(folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """Raises InvalidValue for an architecture that transformers does not have, and for damaged files."""
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # of the weights, which are here
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, **settings
        )
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, SafetensorError) as error:
        raise InvalidValue(f"{folder} cannot be loaded: {' '.join(str(error).split())[:300]}") from None


@contextmanager
def without_peft_warnings() -> Iterator[None]:
    """PEFT asks transformers for a name that is about to change, and tells what it does right with a GPT-2's layers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False", category=UserWarning)
        yield


def context_of(model: Any, asked: int | None = None) -> int:
    """Tokens that a sequence may have: what is asked for, up to what the model's positions reach."""
    end = reach(model.config.to_dict())
    if end is None:
        return asked or UNTOLD
    return min(asked or end, end)


def trainable(model: Any) -> tuple[int, int]:
    """How many parameters are trained, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
