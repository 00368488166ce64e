"""Text to token ids and back, and conversations to prompts: llama-server's and vLLM's fields for it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ...errors import InvalidValue, UnsupportedField
from ...types import SamplingParams
from ..conversation import Conversation
from .chat import ChatMessage
from .common import Text
from .completions import TokenId
from .tools import Functions, ToolChoiceBody, ToolDefinition

MOST_TOKENS = 1_048_576


class _Body(BaseModel):
    """Without `model` the only loaded one is meant, else the default."""

    model_config = ConfigDict(strict=True)

    model: Annotated[Text, StringConstraints(min_length=1, max_length=512)] | None = None


class _Templated(_Body):
    """What a chat template is given."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=128)] | None = None
    tool_choice: ToolChoiceBody | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    chat_template: str | None = None
    add_generation_prompt: bool = True

    def conversation(self, model: str) -> Conversation:
        """The conversation in the words of no API. Raises InvalidValue and UnsupportedField."""
        if self.chat_template is not None:
            raise UnsupportedField("chat_template: the model's own is used; leave it out.", param="chat_template")
        if not self.add_generation_prompt:
            raise UnsupportedField(
                "add_generation_prompt: a prompt always asks for an answer; leave it out.",
                param="add_generation_prompt",
            )
        functions = Functions(self.tools or [], self.tool_choice, None)
        try:
            functions.check()
        except ValueError as error:
            raise InvalidValue(str(error), param=str(error).partition(":")[0]) from None
        return Conversation(
            model=model,
            messages=[message.for_template() for message in self.messages or ()],
            sampling=lambda _: SamplingParams(),
            tools=functions.offered,
            choice=functions.policy,
            variables=self.chat_template_kwargs or {},
        )


class TokenizeRequest(_Templated):
    """One of `prompt` and `messages` (vLLM), or `content` (llama-server)."""

    prompt: Text | None = None
    content: Text | None = None
    add_special_tokens: Annotated[bool | None, Field(description="With `prompt`; the token that comes first")] = None
    add_special: Annotated[bool | None, Field(description="The same with `content`; false by default")] = None
    parse_special: Annotated[bool, Field(description="Text like `<|im_end|>` is the token that it names")] = True
    with_pieces: bool = False
    return_token_strs: bool = False

    @property
    def text(self) -> str | None:
        """The text; None where it is a conversation. Raises InvalidValue unless exactly one is given."""
        given = [name for name in ("prompt", "content", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidValue("Give one of prompt, content and messages.", param=given[1] if given else "prompt")
        return self.content if self.prompt is None else self.prompt

    @property
    def leading(self) -> bool:
        """Whether the token that the model puts first is wanted: vLLM says yes, llama-server no."""
        said = self.add_special_tokens if self.add_special is None else self.add_special
        return self.content is None if said is None else said


class TokenPiece(BaseModel):
    """A token and its text; the bytes of one that is no whole text."""

    id: int
    piece: str | list[int]


class TokenizeAnswer(BaseModel):
    tokens: list[int] | list[TokenPiece]
    count: int
    max_model_len: int
    token_strs: list[str] | None = None


class DetokenizeRequest(_Body):
    tokens: Annotated[list[TokenId], Field(max_length=MOST_TOKENS)]


class DetokenizeAnswer(BaseModel):
    """The text, under the names that vLLM and llama-server give it."""

    prompt: str
    content: str


class TemplateRequest(_Templated):
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]


class TemplateAnswer(BaseModel):
    prompt: str


class InputTokens(BaseModel):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
