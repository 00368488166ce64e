"""The items of the Responses API: what a conversation consists of, as it is sent, kept and answered.

Parsing makes an item whole: it gets an id and a status, and its content becomes a list of parts. Tags stand in brackets
because an error's path leaves those out.
"""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    model_validator,
)

from .chat_answer import TokenBody
from .common import Text

Status = Literal["in_progress", "completed", "incomplete"]
TEXTS = {"text", "input_text", "output_text"}
MOST_ITEMS = 4096


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def _fresh(prefix: str) -> Callable[[], str]:
    return lambda: new_id(prefix)


ItemId = Annotated[Text, StringConstraints(min_length=1, max_length=256)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """Clients send back what they got, with null for what was not there."""
        return {name: v for name, v in value.items() if v is not None} if isinstance(value, dict) else value


def _read_text(value: Any, kind: str) -> Any:
    """A text part as one of the type that belongs there; clients are not strict about it."""
    if not isinstance(value, dict):
        return value
    given = value.get("type", kind)
    if not isinstance(given, str) or given not in TEXTS:
        raise ValueError(f"this server reads text only; leave out parts of type {ascii(given)[:40]}")
    return value | {"type": kind}


class InputText(_Body):
    type: Literal["input_text"] = "input_text"
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return _read_text(value, "input_text")


class OutputText(_Body):
    type: Literal["output_text"] = "output_text"
    text: Text
    annotations: list[dict[str, Any]] = []
    logprobs: list[TokenBody] = []

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        return _read_text(value, "output_text")


class Refusal(_Body):
    type: Literal["refusal"] = "refusal"
    refusal: Text


class ReasoningText(_Body):
    type: Literal["reasoning_text"] = "reasoning_text"
    text: Text


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _part_tag(value: Any) -> str:
    return "[refusal]" if _field(value, "type") == "refusal" else "[text]"


def _words_tag(value: Any) -> str:
    return "[text]" if isinstance(value, str) else "[parts]"


def _one_part(value: Any) -> Any:
    return [{"text": value}] if isinstance(value, str) else value


OutputPart = Annotated[
    Annotated[OutputText, Tag("[text]")] | Annotated[Refusal, Tag("[refusal]")], Discriminator(_part_tag)
]
Words = Annotated[
    Annotated[Text, Tag("[text]")] | Annotated[list[InputText], Tag("[parts]")], Discriminator(_words_tag)
]


class InputMessage(_Body):
    """What a user, the system or a developer says."""

    id: ItemId = Field(default_factory=_fresh("msg"))
    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer"]
    status: Status = "completed"
    content: Annotated[list[InputText], BeforeValidator(_one_part, json_schema_input_type=Text | list[InputText])]


class OutputMessage(_Body):
    """What the model says."""

    id: ItemId = Field(default_factory=_fresh("msg"))
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Status = "completed"
    content: Annotated[list[OutputPart], BeforeValidator(_one_part, json_schema_input_type=Text | list[OutputPart])]


class ReasoningItem(_Body):
    """What the model thinks. Models here are open, so thoughts are sent as they are, and there is no summary."""

    id: ItemId = Field(default_factory=_fresh("rs"))
    type: Literal["reasoning"] = "reasoning"
    status: Status = "completed"
    summary: list[dict[str, Any]] = []
    content: list[ReasoningText] = []


class FunctionCallItem(_Body):
    """A call of a function, with its arguments as JSON text."""

    id: ItemId = Field(default_factory=_fresh("fc"))
    type: Literal["function_call"] = "function_call"
    status: Status = "completed"
    call_id: ItemId
    name: Annotated[Text, StringConstraints(min_length=1, max_length=128)]
    arguments: Text


class FunctionOutputItem(_Body):
    """What a called function returned."""

    id: ItemId = Field(default_factory=_fresh("fco"))
    type: Literal["function_call_output"] = "function_call_output"
    status: Status = "completed"
    call_id: ItemId
    output: Words


class ItemReference(_Body):
    """An item of a response that is kept."""

    type: Literal["item_reference"] = "item_reference"
    id: ItemId


def _item_tag(value: Any) -> str:
    role = _field(value, "role")
    kind = _field(value, "type") or ("item_reference" if role is None else "message")
    return f"[{'answer' if kind == 'message' and role == 'assistant' else kind}]"


_WRONG_TYPE = (
    "an item is of type message, function_call, function_call_output, reasoning or item_reference; this server has no"
    " others"
)
OutputItem = OutputMessage | ReasoningItem | FunctionCallItem
Item = OutputItem | InputMessage | FunctionOutputItem
_Known = (
    Annotated[InputMessage, Tag("[message]")]
    | Annotated[OutputMessage, Tag("[answer]")]
    | Annotated[ReasoningItem, Tag("[reasoning]")]
    | Annotated[FunctionCallItem, Tag("[function_call]")]
    | Annotated[FunctionOutputItem, Tag("[function_call_output]")]
)
KeptItem = Annotated[_Known, Discriminator(_item_tag)]
GivenItem = Annotated[
    _Known | Annotated[ItemReference, Tag("[item_reference]")],
    Discriminator(_item_tag, custom_error_type="item_unknown", custom_error_message=_WRONG_TYPE),
]


def _one_message(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Input = Annotated[
    list[GivenItem],
    Field(min_length=1, max_length=MOST_ITEMS),
    BeforeValidator(_one_message, json_schema_input_type=Text | list[GivenItem]),
]
KEPT_ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[KeptItem])
