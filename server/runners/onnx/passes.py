"""How a batch is divided into passes that GroupQueryAttention can compute. Pure.

One token each of sequences of any length runs together. Several tokens without a past run together, padded on the
right; with a past, one sequence at a time. Logits do not depend on the company or on the padding, bit for bit (except
under an adapter of a graph from elsewhere, whose LoRA products are in float32), nor on where a prompt is
cut, with one exception: a single token with a past is another kernel. Chunks end on a grid of CHUNK_TOKENS, so the
token behind a point of it runs as a single one exactly when its prompt ends there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..base import Batch, Segment, split_segment

CHUNK_TOKENS = 64
WASTE = 1.25  # a padded pass computes at most this many positions for each real one


@dataclass(slots=True)
class Piece:
    """A part of a segment, and the place of its first wanted position in the answer."""

    segment: Segment
    place: int

    @property
    def width(self) -> int:
        return len(self.segment.tokens)


Pass = list[Piece]


@dataclass(slots=True)
class Passes:
    """Prompts run first, in this order, which keeps the chunks of a sequence behind each other; then what decodes."""

    prompts: list[Pass]
    decodes: list[Pass]


def passes(batch: Batch, *, waste: float = WASTE) -> Passes:
    """What runs together. `waste` 1: without padding."""
    fresh: list[Piece] = []
    later: list[Piece] = []
    decodes: list[Piece] = []
    place = 0
    for segment in batch:
        if segment.start and len(segment.tokens) == 1:
            decodes.append(Piece(segment, place))
            place += len(segment.wanted)
            continue
        for part in split_segment(segment, CHUNK_TOKENS):
            (later if part.start else fresh).append(Piece(part, place))
            place += len(part.wanted)
    together = [group for alike in _by_adapter(fresh) for group in _of_like_width(alike, waste)]
    return Passes([*together, *([piece] for piece in later)], _by_adapter(decodes))


def _by_adapter(pieces: Sequence[Piece]) -> list[Pass]:
    """A pass computes with one adapter."""
    adapters = dict.fromkeys(piece.segment.adapter for piece in pieces)
    return [[piece for piece in pieces if piece.segment.adapter == adapter] for adapter in adapters]


def _of_like_width(fresh: Sequence[Piece], waste: float) -> list[Pass]:
    """Groups of prompts of which the padding wastes little."""
    groups: list[Pass] = []
    for piece in sorted(fresh, key=lambda piece: piece.width):
        together = [*groups[-1], piece] if groups else []
        if together and piece.width * len(together) <= waste * sum(other.width for other in together):
            groups[-1] = together
        else:
            groups.append([piece])
    return groups
