"""Hermes, Qwen 2.5 and 3, SmolLM3, Granite 4: an object in tags, one pair of tags a call.

    <tool_call>
    {"name": "temperature", "arguments": {"city": "Bern"}}
    </tool_call>

Small models forget the tags, or write a code block instead, and some conversions hide the tags as control tokens: such
an object of a known function, at the beginning of an answer or in a block of JSON, is a call as well.
"""

from .grammar import Shape
from .reader import Layout, Opening
from .written import WrittenFormat

LAYOUT = Layout(
    openings=(Opening("<tool_call>", "</tool_call>"), Opening("```json", "```", sure=False)),
    bare=Opening("", sure=False),
)
SHAPE = Shape(
    marker="<tool_call>",
    opening="\n",
    begin='{"name": "',
    middle='", "arguments": ',
    close="}\n",
    end="</tool_call>",
    between="\n",
)
FORMAT = WrittenFormat("hermes", LAYOUT, SHAPE, marks=("<tool_call>",), shown=("<tool_call>", "</tool_call>"))
