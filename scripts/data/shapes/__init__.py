"""Shapes of examples: which fields hold the question and which the answer."""

from . import alpaca, conversations, messages, pairs, text
from .shape import Shape

SHAPES: tuple[Shape, ...] = (messages.SHAPE, conversations.SHAPE, alpaca.SHAPE, *pairs.SHAPES, text.SHAPE)
"""The first whose fields are all there is taken."""
