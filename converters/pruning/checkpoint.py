"""Reading a checkpoint as a model of transformers, and writing one again with whatever belongs to it."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from server.errors import InvalidValue

from ..checkpoint import Checkpoint
from .decoder import Decoder


def read(folder: Path) -> tuple[Decoder, Any]:
    """A model in float32 and its tokenizer. Raises InvalidValue for what is damaged, quantised or would run code."""
    Checkpoint.open(folder)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # our own says more
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidValue(f"{folder} cannot be read by transformers: {reason[:300]}") from None
    model.eval()
    return Decoder(model), tokenizer


def write(decoder: Decoder, source: Path, target: Path) -> Checkpoint:
    """The model in the type that the source has, with the source's tokenizer, template and licence."""
    opened = Checkpoint.open(source)
    kind = _kind(opened)
    decoder.model.to(kind)
    decoder.model.config.dtype = kind
    decoder.model.save_pretrained(target)
    for path in (*opened.companions(), *sorted(source.glob("LICENSE*"))):
        shutil.copyfile(path, target / path.name)
    return Checkpoint.open(target)


def _kind(opened: Checkpoint) -> torch.dtype:
    """The type of the weights, as config.json has it. Raises InvalidValue."""
    name = str(opened.config.get("dtype") or opened.config.get("torch_dtype") or "float32")
    kind = getattr(torch, name, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise InvalidValue(f"{opened.folder} says that its weights are {name}, which is no type of weights.")
    return kind
