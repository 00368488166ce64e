"""DeepSeek, from V3.1 on: a name and its arguments between tokens, here written with plain bars and spaces.

    <|tool calls begin|><|tool call begin|>temperature<|tool sep|>{"city": "Bern"}<|tool call end|><|tool calls end|>

The templates of R1 and of its distilled models declare no tools; those models are told in the generic way.
"""

from .grammar import Shape
from .reader import Layout, Opening
from .written import WrittenFormat


def _token(words: str) -> str:
    """The token: it has wide bars, and low blocks for spaces."""
    return f"<\uff5c{words}\uff5c>".replace(" ", "\u2581")


_FIRST, _LAST = _token("tool calls begin"), _token("tool calls end")
_BEGIN, _SEPARATOR, _END = _token("tool call begin"), _token("tool sep"), _token("tool call end")

FORMAT = WrittenFormat(
    "deepseek",
    Layout(
        openings=(Opening(_BEGIN, _END, json=False, separators=(_SEPARATOR,)),),
        silent=(_FIRST, _LAST),
    ),
    Shape(marker=_BEGIN, middle=_SEPARATOR, end=_END, quoted=False),
    marks=(_BEGIN,),
    shown=(_FIRST, _LAST, _BEGIN, _SEPARATOR, _END),
)
