"""Looking for markers in text that is still coming. Pure."""

from collections.abc import Sequence


def without_start(text: str, markers: Sequence[str]) -> str:
    """The text without an end that may be the start of a marker."""
    for length in range(min(len(text), max(map(len, markers), default=0)), 0, -1):
        if any(marker.startswith(text[-length:]) for marker in markers):
            return text[:-length]
    return text
