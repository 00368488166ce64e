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
def without_peft_warning() -> Iterator[None]:
    """PEFT asks transformers for a name that is about to change, which is not the user's to know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield


def context_of(model: Any) -> int:
    """Tokens that the model's positions reach."""
    return int(model.config.get_text_config().max_position_embeddings)


def trainable(model: Any) -> tuple[int, int]:
    """How many parameters are trained, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
