"""From a conversation to a prompt for one loaded model: its template, its way to write tool calls, its grammar."""

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from ..chat import history, reasoning
from ..chat.answer import AnswerParser
from ..chat.reasoning import ReasoningSplitter
from ..chat.tools import format_for
from ..chat.tools.base import Tool, ToolFormat
from ..chat.tools.grammar import or_else
from ..errors import InvalidValue, TemplateFailed
from ..json_schemas import tuned
from ..models.spec import Sampling
from ..pool.resident import Resident
from ..types import Grammar, Request
from ..worker.messages import Tokens
from .accounting import asked_for
from .conversation import Conversation
from .services import Services


@dataclass(frozen=True, slots=True)
class Plan:
    """How a conversation is put to a model, and how its answers are read.

    `tools` are those whose calls are looked for; `forced`: nothing but calls may come; `thought`: whether an answer may
    begin with a thought, or is `inside` one from its first word.
    """

    prompt: str
    format: ToolFormat
    tools: tuple[Tool, ...] = ()
    forced: bool = False
    thought: bool = False
    inside: bool = False
    grammar: Grammar | None = None

    def request(self, request_id: str, conversation: Conversation, advised: Sampling) -> Request:
        """What the engine is asked."""
        shown = (self.format.shown if self.tools else ()) + (reasoning.SHOWN if self.thought else ())
        return Request(
            request_id,
            self.prompt,
            conversation.sampling(advised),
            cache_prompt=conversation.cache_prompt,
            n=conversation.n,
            logprobs=conversation.logprobs,
            grammar=self.grammar,
            shown=shown,
        )

    def parser(self) -> AnswerParser:
        """A parser for one continuation."""
        return AnswerParser(
            ReasoningSplitter(inside=self.inside) if self.thought else None,
            self.format.parser(self.tools) if self.tools else None,
            forced=self.forced,
        )


async def plan(services: Services, resident: Resident, conversation: Conversation) -> Plan:
    """The conversation as the model's own template writes it.

    Raises TemplateFailed, and InvalidValue and UnsupportedField for what this model cannot be asked.
    """
    ready, template = resident.ready, resident.ready.chat_template
    if template is None:
        raise TemplateFailed(f"{resident.spec.name} has no chat template; use /v1/completions.", param="model")
    messages, prefill = split_prefill(history.for_template(conversation.messages))
    if resident.spec.system is not None and not any(message["role"] == "system" for message in messages):
        messages = [{"role": "system", "content": resident.spec.system}, *messages]
    way = format_for(template)
    tools = () if conversation.choice.mode == "none" else conversation.tools
    messages, declared = way.conversation(messages, tools, template)
    prompt = await services.renderer.render(
        template,
        messages,
        tools=declared,
        bos_token=ready.bos_token,
        eos_token=ready.eos_token,
        variables=reasoning.variables_for(template, conversation.reasoning_effort, conversation.variables),
    )
    thought = reasoning.thinks(template)
    inside = thought and reasoning.starts_inside(prompt, prefill)
    grammar = _grammar(way, conversation, tools)
    if grammar is not None and thought and not _thought_is_over(prompt, prefill):
        grammar = msgspec.structs.replace(grammar, thought="inside" if inside else "may")
    forced = conversation.choice.mode in ("required", "named")
    return Plan(prompt + prefill, way, tools, forced, thought, inside, grammar)


async def prompt_tokens(
    services: Services, resident: Resident, conversation: Conversation, *, pieces: bool = False
) -> Tokens:
    """The tokens of the prompt that a conversation becomes. Raises as `plan` does."""
    planned = await plan(services, resident, conversation)
    return await resident.tokenise(planned.prompt, special=True, pieces=pieces)


async def count_prompt(services: Services, conversation: Conversation, wait: float | None) -> int:
    """How many they are. Loads the model, and generates nothing."""
    asked_for(services.registry, conversation.model)
    async with services.pool.lease(conversation.model, wait) as resident:
        return len((await prompt_tokens(services, resident, conversation)).tokens)


def split_prefill(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The messages without a last one of the assistant, and its text: what the answer begins with."""
    last = messages[-1]
    if len(messages) < 2 or last["role"] != "assistant" or last.get("tool_calls") or not last["content"]:
        return messages, ""
    return messages[:-1], str(last["content"])


def _thought_is_over(prompt: str, prefill: str) -> bool:
    """Whether the template, or a continued answer, has closed the thought already."""
    return (prompt + prefill).rstrip().endswith(reasoning.CLOSE)


def _grammar(way: ToolFormat, conversation: Conversation, tools: tuple[Tool, ...]) -> Grammar | None:
    """What the answer is held to: calls, where they must come, else the form that is asked for, or either."""
    choice, form = conversation.choice, conversation.grammar
    if tools and form is not None and form.kind == "lark":
        raise InvalidValue(f"{form.param}: a grammar of one's own and tools do not go together.", param=form.param)
    if choice.mode in ("required", "named"):
        return Grammar("calls", way.grammar(tools, choice), "tools", json=True)
    if not tools:
        return form
    if form is None:
        permitting = way.grammar_auto(tools, choice) if any(tool.strict for tool in tools) else None
        return Grammar("calls", permitting, "tools") if permitting else None
    return Grammar("calls", or_else(way.grammar(tools, choice), _answer(form)), form.param, json=form.json)


def _answer(form: Grammar) -> str:
    """The form as part of a Lark rule."""
    if form.kind == "json_schema":
        return f"%json {json.dumps(tuned(json.loads(form.source), form.param))}"
    # A slash would end the expression there, unless it is escaped already.
    return "/(?:" + re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", form.source, flags=re.DOTALL) + ")/"
