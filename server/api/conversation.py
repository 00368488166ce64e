"""A chat request in the words of no API, and its answer as turns: what every chat-like endpoint speaks.

OpenAI chat, Responses, Anthropic messages and Ollama chat translate to a `Conversation` and translate `Turn`s back.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from ..chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from ..chat.tools.base import Tool, ToolChoice
from ..models.spec import Sampling
from ..types import Grammar, SamplingParams, TokenLogprob, Usage

Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a client asks for.

    `messages` are in OpenAI's shape: role, content (text), tool_calls, tool_call_id, name. A last message of the
    assistant is continued. `sampling` makes the parameters, given what the model's makers advise. `variables` are for
    the chat template. `limit_field` is what the client calls the most tokens that it wants.
    """

    model: str
    messages: list[dict[str, Any]]
    sampling: Callable[[Sampling], SamplingParams]
    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = field(default_factory=ToolChoice)
    grammar: Grammar | None = None
    n: int = 1
    logprobs: int | None = None
    cache_prompt: bool = True
    variables: dict[str, Any] = field(default_factory=dict)
    reasoning_effort: str | None = None
    limit_field: str = "max_tokens"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one continuation gained, in `tokens` tokens, some of which may not be read yet.

    The last turn of each has `finish` and `usage`, `stop` the stop string it met.
    """

    index: int
    events: list[ChatEvent]
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None
    stop: str | None = None
    tokens: int = 0


@dataclass(slots=True)
class Call:
    """A whole call of a tool. `arguments` is JSON text, as far as the model wrote JSON."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Reply:
    """One continuation, folded."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish = "stop"
    stop: str | None = None
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0))

    def add(self, turn: Turn) -> None:
        """Fold one more turn in."""
        for event in turn.events:
            match event:
                case Text(text):
                    self.text += text
                case Reasoning(text):
                    self.reasoning += text
                case CallBegun(_, call_id, name):
                    self.calls.append(Call(call_id, name))
                case CallArguments(index, text):
                    self.calls[index].arguments += text
        self.logprobs += turn.logprobs
        if turn.finish and turn.usage:
            self.finish, self.usage, self.stop = turn.finish, turn.usage, turn.stop


async def fold_turns(stream: AsyncGenerator[Turn], n: int = 1) -> list[Reply]:
    """The plain answers are the stream, collected: one a continuation."""
    replies = [Reply() for _ in range(n)]
    async with aclosing(stream):
        async for turn in stream:
            replies[turn.index].add(turn)
    return replies
