"""Leaving out channels of the MLPs: those whose activations, times the weights they meet, are least."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from server.errors import InvalidValue

from .decoder import Decoder

MULTIPLE = 32  # channels: a block of the quantised types of GGUF and of ONNX Runtime


def channels(decoder: Decoder, share: float) -> int:
    """How many channels stay for a share of them: the nearest multiple of 32. Raises InvalidValue."""
    if not 0 < share < 1:
        raise InvalidValue(f"A width of {share:g} leaves nothing out; give the share to keep, such as 0.75.")
    size: int = decoder.config.intermediate_size
    found = round(size * share / MULTIPLE) * MULTIPLE
    if not 0 < found < size:
        raise InvalidValue(f"A width of {share:g} is {found} of {size} channels in multiples of {MULTIPLE}.")
    return found


def narrow(decoder: Decoder, windows: tuple[torch.Tensor, ...], kept: int) -> None:
    """Leave `kept` channels in every MLP; the configuration says so afterwards. Raises InvalidValue."""
    with _energies(decoder) as energies:
        for window in windows:
            decoder.logits(window)
    for block, energy in zip(decoder.blocks, energies, strict=True):
        down = block.mlp.down_proj
        score = energy.sqrt() * down.weight.float().norm(dim=0)
        chosen = score.topk(kept).indices.sort().values
        _take(block.mlp, chosen)
    decoder.config.intermediate_size = kept


def require_mlps(decoder: Decoder) -> None:
    """Raises InvalidValue for a model whose MLPs are not gated ones of this shape (a mixture of experts, say)."""
    for block in decoder.blocks:
        mlp = getattr(block, "mlp", None)
        if not isinstance(getattr(mlp, "down_proj", None), nn.Linear) or not (
            hasattr(mlp, "gate_up_proj") or (hasattr(mlp, "gate_proj") and hasattr(mlp, "up_proj"))
        ):
            raise InvalidValue(f"{type(decoder.model).__name__} has MLPs that pruning does not know.")


def _take(mlp: Any, chosen: torch.Tensor) -> None:
    """Keep these channels of one MLP."""
    if hasattr(mlp, "gate_up_proj"):  # Phi-3: the gate's rows, then the others'
        _rows(mlp.gate_up_proj, torch.cat((chosen, chosen + mlp.gate_up_proj.out_features // 2)))
    else:
        _rows(mlp.gate_proj, chosen)
        _rows(mlp.up_proj, chosen)
    mlp.down_proj.weight = nn.Parameter(mlp.down_proj.weight.detach()[:, chosen].contiguous())
    mlp.down_proj.in_features = len(chosen)
    if hasattr(mlp, "intermediate_size"):
        mlp.intermediate_size = len(chosen)


def _rows(linear: nn.Linear, chosen: torch.Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[chosen].contiguous())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[chosen].contiguous())
    linear.out_features = len(chosen)


@contextmanager
def _energies(decoder: Decoder) -> Iterator[list[torch.Tensor]]:
    """For each block the sum of squares of every channel, [channels]: grows with each forward in the `with`."""
    size = decoder.config.intermediate_size
    energies = [torch.zeros(size) for _ in decoder.blocks]

    def watch(energy: torch.Tensor) -> Any:
        def entering(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
            energy.add_(arguments[0].float().square().sum(dim=(0, 1)))

        return entering

    handles = [
        block.mlp.down_proj.register_forward_pre_hook(watch(energy))
        for block, energy in zip(decoder.blocks, energies, strict=True)
    ]
    try:
        yield energies
    finally:
        for handle in handles:
            handle.remove()
