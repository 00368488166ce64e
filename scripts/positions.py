"""How far the positions of a checkpoint reach, by the names that configurations have for it."""

from collections.abc import Mapping
from typing import Any

NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "context_length",
    "n_ctx",
)


def reach(config: Mapping[str, Any]) -> int | None:
    """Tokens; of a model of several parts, its text's. None for one whose configuration names no end.

    A recurrent model has none, and one whose attention has a bias in place of positions need not have one.
    """
    inner = config.get("text_config")
    found = inner if isinstance(inner, dict) else config
    return next((found[name] for name in NAMES if isinstance(found.get(name), int)), None)
