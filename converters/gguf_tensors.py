"""Which tensors a GGUF file has for those of a checkpoint, and their bytes, one at a time."""

from dataclasses import dataclass
from math import prod

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from server.errors import ConversionFailed, InvalidValue

from . import gguf_parameters
from .blocks import Bytes, Floats
from .checkpoint import Checkpoint
from .hyperparameters import Hyperparameters

_LEFT_OUT = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")  # computed, never learnt
_ARCHITECTURES = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor to be written. `source` is its name in the checkpoint; "" where `values` has its numbers."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    source: str = ""
    values: Floats | None = None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        block, width = gguf.GGML_QUANT_SIZES[self.kind]
        return prod(self.shape) // block * width


def plan(checkpoint: Checkpoint, model: Hyperparameters, kind: Kind, rows: int) -> list[Planned]:
    """All tensors, in the order of the file; `rows` is how many of the embedding there is a token for.

    Vectors and norms stay float32; a matrix whose rows are no whole blocks becomes float16. Raises InvalidValue for a
    tensor that has no place.
    """
    names = gguf.get_tensor_name_map(_ARCHITECTURES[model.architecture], model.layers)
    extra = gguf_parameters.extra_tensors(model)
    found = [Planned(name, Kind.F32, values.shape, values=values) for name, values in extra.items()]
    for source, shape in checkpoint.shapes.items():
        if source.endswith(_LEFT_OUT):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise InvalidValue(f"{checkpoint.folder.name} has a tensor that is not supported: {source[:80]!r}.")
        if model.architecture == "gemma3" and name == "token_embd.weight":
            kept = (min(shape[0], rows), *shape[1:])
        else:
            kept = shape
        found.append(Planned(name, _kind(name, kept, kind), kept, source))
    return found


def encoded(checkpoint: Checkpoint, model: Hyperparameters, planned: Planned) -> Bytes:
    """The bytes of a tensor, [planned.size]. Raises ConversionFailed for a number that its type cannot hold."""
    values = planned.values
    if values is None:
        values = _reordered(checkpoint.floats(planned.source)[: planned.shape[0]], model, planned.source)
        if model.architecture == "gemma3" and planned.name.endswith("norm.weight"):
            values = values + np.float32(1)  # what Gemma's norms are short of
    if not np.isfinite(values).all():
        raise ConversionFailed(f"{planned.source or planned.name} has numbers that are not finite.")
    with np.errstate(over="ignore"):
        found = gguf.quants.quantize(np.ascontiguousarray(values), planned.kind)
    if planned.kind is Kind.F16 and not np.isfinite(found).all():
        raise ConversionFailed(f"{planned.source} has a weight that is too large for float16; use bf16 or f32.")
    return found.view(np.uint8).reshape(-1)


def _kind(name: str, shape: tuple[int, ...], wanted: Kind) -> Kind:
    if len(shape) < 2 or name.endswith("_norm.weight") or not name.endswith(".weight"):
        return Kind.F32
    return wanted if shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0 else Kind.F16


def _reordered(values: Floats, model: Hyperparameters, name: str) -> Floats:
    """llama.cpp rotates neighbours for this architecture, transformers halves: the rows of Q and K change places."""
    if model.architecture != "llama" or not name.endswith(
        ("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")
    ):
        return values
    heads = model.heads if ".q_proj." in name else model.kv_heads
    if len(values) % (2 * heads):
        raise InvalidValue(f"{name} has {len(values)} rows, which are not those of {heads} heads.")
    halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
