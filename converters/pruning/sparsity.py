"""2:4 sparsity: of every four weights that follow each other along a row, the two smallest become zero."""

import torch
from torch import nn

from server.errors import InvalidValue

from .decoder import Decoder

PATTERN = "2:4"
GROUP, KEPT = 4, 2


def sparsify(decoder: Decoder) -> int:
    """Zero half of every matrix of the blocks; embeddings and head stay. Returns how many matrices there are.

    Raises InvalidValue for a matrix whose rows are no multiple of four.
    """
    matrices = [module for block in decoder.blocks for module in block.modules() if isinstance(module, nn.Linear)]
    for matrix in matrices:
        if matrix.in_features % GROUP:
            raise InvalidValue(f"A row of {matrix.in_features} weights has no whole groups of {GROUP}.")
    with torch.no_grad():
        for matrix in matrices:
            matrix.weight.mul_(mask(matrix.weight))
    return len(matrices)


def mask(weight: torch.Tensor) -> torch.Tensor:
    """[rows, columns] of 1 for what stays and 0 for what goes: exactly two of each four, also among equals."""
    groups = weight.abs().reshape(-1, GROUP)
    kept = groups.topk(KEPT, dim=1).indices
    return torch.zeros_like(groups).scatter_(1, kept, 1.0).reshape(weight.shape)
