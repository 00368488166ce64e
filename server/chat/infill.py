"""Fill in the middle: how models that learnt it are shown what stands before a gap, and what after it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InfillMarkers:
    """The special tokens of one family: before the prefix, before the suffix, and where the middle begins."""

    prefix: str
    suffix: str
    middle: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.prefix, self.suffix, self.middle))


KNOWN = (
    InfillMarkers("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma, Granite 4
    InfillMarkers("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite Code
    InfillMarkers("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    InfillMarkers("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001  # DeepSeek-Coder spells it so
    InfillMarkers("▁<PRE>", "▁<SUF>", "▁<MID>"),  # CodeLlama
    InfillMarkers("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM-4
)
