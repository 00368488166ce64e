"""What messages of Anthropic's API consist of."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..schemas.common import Text

MOST_BLOCKS = 4096


class _Block(BaseModel):
    """Unknown fields are ignored: `cache_control`, since prefixes are reused without being asked, and `citations`."""

    model_config = ConfigDict(strict=True)


class TextBlock(_Block):
    type: Literal["text"]
    text: Text


class ThinkingBlock(_Block):
    type: Literal["thinking"]
    thinking: Text
    signature: str = ""


class RedactedThinkingBlock(_Block):
    """Thoughts that only their maker can read."""

    type: Literal["redacted_thinking"]
    data: str = ""


class ToolUseBlock(_Block):
    type: Literal["tool_use"]
    id: Text
    name: Text
    input: dict[str, Any]


def _only(*known: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind not in known:
            raise ValueError(f"this server reads text and calls of tools; leave out blocks of type {kind[:40]!a}")
        return value

    return BeforeValidator(check)


def _as_blocks(value: Any) -> Any:
    """A text is short for one block of text."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


Part = Annotated[TextBlock, _only("text")]
Texts = Annotated[
    list[Part], Field(max_length=MOST_BLOCKS), BeforeValidator(_as_blocks, json_schema_input_type=str | list[TextBlock])
]


class ToolResultBlock(_Block):
    type: Literal["tool_result"]
    tool_use_id: Text
    content: Texts | None = None
    is_error: bool | None = None


Block = Annotated[
    Annotated[
        TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
        Field(discriminator="type"),
    ],
    _only("text", "thinking", "redacted_thinking", "tool_use", "tool_result"),
]


Blocks = Annotated[
    list[Block],
    Field(min_length=1, max_length=MOST_BLOCKS),
    BeforeValidator(_as_blocks, json_schema_input_type=str | list[Block]),
]


class Message(_Block):
    """One turn. Blocks that its role cannot have are refused."""

    role: Literal["user", "assistant", "system"]
    content: Blocks


def text_of(content: list[TextBlock] | None) -> str:
    """The text of blocks, each on a line of its own."""
    return "\n".join(block.text for block in content or ())
