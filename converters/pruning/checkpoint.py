"""Reading a checkpoint as a model of transformers, and writing one again with whatever belongs to it."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from server.errors import ConversionFailed, InvalidValue
from server.models.tokenizer import refuse_growth

from ..appearing import require_growth
from ..checkpoint import Checkpoint, copy_own, read_json
from .decoder import Decoder

KINDS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read(folder: Path) -> tuple[Decoder, Any]:
    """A model in float32 and its tokenizer. Raises InvalidValue for what is damaged, quantised or would run code."""
    Checkpoint.open(folder)
    if (folder / "tokenizer.json").is_file():
        refuse_growth(read_json(folder / "tokenizer.json"), folder)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # our own says more
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
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
    try:
        decoder.model.save_pretrained(target)
    except SafetensorError as error:
        require_growth(target)
        raise ConversionFailed(f"transformers cannot write {target.name}: {str(error)[:300]}") from None
    except ValueError as error:  # a generation_config.json that transformers reads and does not write
        raise InvalidValue(f"transformers cannot write {source.name} again: {str(error)[:300]}") from None
    for path in opened.companions():
        copy_own(path, target)
    return Checkpoint.open(target)


def _kind(opened: Checkpoint) -> torch.dtype:
    """The type that most tensors are stored in. Raises InvalidValue for one of its own."""
    counts = opened.types()
    name = max(counts, key=lambda kind: counts[kind])
    if name not in KINDS:
        raise InvalidValue(f"{opened.folder.name} has tensors of type {name}, which are not pruned.")
    return KINDS[name]
