"""The processes of one training, as torchrun or accelerate started them; one where nobody did."""

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Which one this is, and how many there are. They meet by gloo where there is no GPU."""
    if torch.distributed.is_torchelastic_launched() and not torch.cuda.is_available():
        return PartialState(cpu=True, backend="gloo")
    return PartialState()
