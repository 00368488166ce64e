"""Which blocks matter: two measures of importance, and the choice that follows from them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log, pi
from typing import Any, Literal, get_args

import torch

from server.errors import InvalidValue

from .decoder import Decoder
from .text import perplexity

Importance = Literal["angular", "perplexity"]
Grouping = Literal["contiguous", "single"]
Report = Callable[[float, str], None]
Windows = tuple[torch.Tensor, ...]


def measure(decoder: Decoder, windows: Windows, importance: str, span: int, report: Report) -> list[float]:
    """How much it would change to leave out the `span` blocks from each block on; least important first to go.

    angular: the mean angle, 0 to 1 for 0 to 180 degrees, between what enters the first and what leaves the last
    (Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers", 2024, over every position).
    perplexity: by how much the mean negative log-likelihood grows, in nats, without the block; groups are summed.
    """
    if importance == "angular":
        return _angular(decoder, windows, span, report)
    if importance == "perplexity":
        alone = _leave_one_out(decoder, windows, report)
        return [sum(alone[start : start + span]) for start in range(len(alone) - span + 1)]
    raise InvalidValue(f"There is no importance {importance!r}. Known: {', '.join(get_args(Importance))}.")


def choose(scores: list[float], blocks: int, count: int, grouping: str) -> list[int]:
    """The `count` of `blocks` blocks that go. Pure. The first and the last stay where anything else can go.

    contiguous: the group whose score, `scores[first]`, is least; single: those whose own scores are least.
    Raises InvalidValue for another grouping.
    """
    if grouping == "contiguous":
        starts = range(1, blocks - count) if count <= blocks - 2 else range(blocks - count + 1)
        first = min(starts, key=lambda start: scores[start])
        return [*range(first, first + count)]
    if grouping != "single":
        raise InvalidValue(f"There is no grouping {grouping!r}. Known: {', '.join(get_args(Grouping))}.")
    inner = range(1, blocks - 1) if count <= blocks - 2 else range(blocks)
    return sorted(sorted(inner, key=lambda block: scores[block])[:count])


def _angular(decoder: Decoder, windows: Windows, span: int, report: Report) -> list[float]:
    starts = len(decoder.blocks) - span + 1
    totals, positions = torch.zeros(starts, dtype=torch.float64), 0
    for number, window in enumerate(windows):
        report(number / len(windows), "angles between blocks")
        with _states(decoder) as states:
            decoder.logits(window)
        for start in range(starts):
            cosine = torch.nn.functional.cosine_similarity(states[start], states[start + span], dim=-1)
            totals[start] += (cosine.clamp(-1, 1).arccos() / pi).sum().double()
        positions += len(window)
    return [float(total) / positions for total in totals]


def _leave_one_out(decoder: Decoder, windows: Windows, report: Report) -> list[float]:
    whole = log(perplexity(decoder, windows))
    scores = []
    for block in range(len(decoder.blocks)):
        report(block / len(decoder.blocks), f"without block {block}")
        with decoder.without(block):
            scores.append(log(perplexity(decoder, windows)) - whole)
    return scores


@contextmanager
def _states(decoder: Decoder) -> Iterator[list[torch.Tensor]]:
    """What enters each block, and last what leaves them all, [tokens, hidden]: filled by a forward in the `with`.

    By hooks: the last of transformers' own `hidden_states` is normalised, so its angle would be another thing's.
    """
    states: list[torch.Tensor] = []

    def entering(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        hidden = arguments[0] if arguments else keywords["hidden_states"]
        states.append(hidden[0].float())

    def leaving(_module: Any, _arguments: Any, output: Any) -> None:
        states.append((output[0] if isinstance(output, tuple) else output)[0].float())

    blocks = decoder.blocks
    handles = [block.register_forward_pre_hook(entering, with_kwargs=True) for block in blocks]
    handles.append(blocks[-1].register_forward_hook(leaving))
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
