"""Functionary, and models that write as it does.

    <function=temperature>{"city": "Bern"}</function>

The older form names a recipient before each part of an answer, `all` being the user. The prompt ends with the first
`>>>`, so an answer begins behind it.

    all
    Let me see.
    >>>temperature
    {"city": "Bern"}
"""

from collections.abc import Sequence

from .base import Tool, ToolChoice
from .grammar import Shape
from .reader import Layout, Opening
from .written import WrittenFormat


class RecipientFormat(WrittenFormat, frozen=True):
    def grammar_auto(self, tools: Sequence[Tool], choice: ToolChoice) -> str | None:
        return None  # text has a recipient of its own, which a general grammar does not write


FORMAT = WrittenFormat(
    "functionary",
    Layout(openings=(Opening("<function=", "</function>", json=False, separators=(">",)),)),
    Shape(marker="<function=", middle=">", end="</function>", quoted=False),
    marks=("<function=",),
)
RECIPIENTS = RecipientFormat(
    "functionary-recipients",
    Layout(
        openings=(Opening(">>>", json=False, separators=("\n",)),),
        bare=Opening("", json=False, separators=("\n",), sure=False),
        silent=(">>>all\n",),
        prelude="all\n",
    ),
    Shape(middle="\n", between="\n>>>", quoted=False, listed=True),
    marks=(">>>all", "'>>>'", "\n\n>>>"),
)
