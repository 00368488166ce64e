"""Bottleneck adapters: a narrow pair of matrices behind each block's MLP, written beside a base and put in again.

They are no linear change of the weights, so they can be neither merged nor served by an engine: for work in PyTorch.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from server.errors import InvalidValue

CONFIG = "bottleneck.json"
WEIGHTS = "bottleneck.safetensors"

# What architectures call the part of a block that is no attention: most of them, LFM2, MPT.
NAMES = ("mlp", "feed_forward", "ffn")


class Bottleneck(nn.Module):
    """mlp(x) + up(gelu(down(mlp(x)))); `up` begins at zero, so that nothing is changed yet."""

    def __init__(self, inner: nn.Module, width: int, size: int) -> None:
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.normal_(self.down.weight, std=0.02)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        """[..., width] as it came. The MLPs of Bloom and MPT are given the residual too, and add it."""
        y: Tensor = self.inner(x, *others)
        changed: Tensor = self.up(functional.gelu(self.down(y)))
        return y + changed


def attach(model: Any, size: int) -> None:
    """Freeze the model and put an adapter behind every block's MLP. Raises InvalidValue for a model without such."""
    model.requires_grad_(False)
    places = [
        (block, name)
        for block in model.modules()
        for name in NAMES
        if isinstance(getattr(block, name, None), nn.Module)
    ]
    if not places:
        raise InvalidValue(f"{type(model).__name__} has no blocks with an MLP of its own; take method: lora.")
    for block, name in places:
        setattr(block, name, Bottleneck(getattr(block, name), model.config.get_text_config().hidden_size, size))


def write(model: Any, folder: Path, base: str) -> None:
    """The adapters' weights, their size, and what they belong to."""
    parts = {name: module for name, module in model.named_modules() if isinstance(module, Bottleneck)}
    weights = {
        f"{name}.{part}": tensor.detach().contiguous().cpu()
        for name, module in parts.items()
        for part, tensor in module.state_dict().items()
        if not part.startswith("inner.")
    }
    size = next(iter(parts.values())).down.out_features
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"base": base, "size": size}), encoding="utf-8")


def restore(model: Any, folder: Path) -> None:
    """Put the adapters of a folder into their base. Raises InvalidValue for another model's."""
    attach(model, int(json.loads((folder / CONFIG).read_text("utf-8"))["size"]))
    _, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    left = [name for name, module in model.named_modules() if isinstance(module, Bottleneck)]
    if unexpected or not left:
        raise InvalidValue(f"{folder} holds adapters of another model.")
    model.requires_grad_(requires_grad=False)
