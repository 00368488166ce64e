"""The text that a model is pruned and measured on."""

from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import torch

from server.errors import InvalidValue

from .decoder import Decoder

WINDOW = 256  # tokens that the model sees at once
HELD_OUT = 3  # of so many tokens one is kept for the measurement: what decided on the cuts cannot judge them
FEWEST = 64


@dataclass(frozen=True, slots=True)
class Windows:
    """Token ids, cut. `calibration` decides what goes, `evaluation` says what it cost."""

    calibration: tuple[torch.Tensor, ...]
    evaluation: tuple[torch.Tensor, ...]


def read_text(path: Path) -> str:
    """A text of the user's. Raises InvalidValue."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidValue(f"{path} is not UTF-8 text.") from None


def cut(tokenizer: Any, text: str, most: int) -> Windows:
    """The first `most` tokens of a text, the last third of them held out; each window begins as texts of the model do.

    Raises InvalidValue for a short text.
    """
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"][:most])
    if len(tokens) < FEWEST:
        raise InvalidValue(f"The text has {len(tokens)} tokens; pruning needs at least {FEWEST} to decide on.")
    border = len(tokens) - len(tokens) // HELD_OUT
    lead = torch.tensor(tokenizer("")["input_ids"], dtype=tokens.dtype)
    return Windows(_windows(tokens[:border], lead), _windows(tokens[border:], lead))


def _windows(tokens: torch.Tensor, lead: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cat((lead, part)) for part in torch.split(tokens, WINDOW - len(lead)))


def perplexity(decoder: Decoder, windows: tuple[torch.Tensor, ...]) -> float:
    """exp of the mean negative log-likelihood of every token but the first of each window."""
    total, count = 0.0, 0
    for window in windows:
        if len(window) < 2:
            continue
        logits = decoder.logits(window)[:-1]
        total += float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum"))
        count += len(window) - 1
    mean = total / count
    return exp(mean) if mean < 700 else float("inf")
