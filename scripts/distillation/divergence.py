"""How far two next-token distributions are apart, in nats, summed over positions."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .recipe import Divergence


def divergence(student: Tensor, teacher: Tensor, kind: Divergence, temperature: float = 1.0) -> Tensor:
    """Of logits [positions, vocabulary]. forward: KL(teacher || student); reverse: KL(student || teacher).

    Jensen-Shannon is the mean of both against the distribution half-way between them.
    """
    s = functional.log_softmax(student / temperature, dim=-1)
    t = functional.log_softmax(teacher / temperature, dim=-1)
    if kind == "forward":
        return _kl(t, s)
    if kind == "reverse":
        return _kl(s, t)
    middle = torch.logsumexp(torch.stack([s, t]), dim=0) - math.log(2)
    return (_kl(t, middle) + _kl(s, middle)) / 2


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of logarithms."""
    return functional.kl_div(q, p, log_target=True, reduction="sum")
