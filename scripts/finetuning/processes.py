"""The processes of one training, as torchrun or accelerate started them; one where nobody did."""

from datetime import timedelta

import torch
from accelerate import PartialState

LONGEST = timedelta(days=1)  # one waits for another, whose teacher may read for hours; who died is no longer waited for


def processes() -> PartialState:
    """Which one this is, how many there are, and its device. They meet by gloo where there is no GPU."""
    if on_processor() and torch.distributed.is_torchelastic_launched():
        return PartialState(cpu=True, backend="gloo", timeout=LONGEST)
    return PartialState(cpu=on_processor(), timeout=LONGEST)


def on_processor() -> bool:
    """Whether no GPU computes. Several processes cannot meet on Apple's."""
    if torch.cuda.is_available():
        return False
    return not torch.backends.mps.is_available() or torch.distributed.is_torchelastic_launched()
