"""`cupola run`: ask a model from the terminal, once or in a conversation."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ..errors import CupolaError, InvalidValue
from ..settings import Settings, load_settings

if TYPE_CHECKING:
    from ..api.conversation import Turn
    from ..api.services import Services

EPILOG = (
    "Examples: cupola run smollm2 'What is the capital of France?' · cupola run smollm2 ·"
    " cupola run smollm2 --json 'Name a colour.' ·"
    " git diff | cupola run qwen2.5-coder-0.5b 'Summarise this change:'"
)
Message = dict[str, str]


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(run)


def run(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name or alias of a model; it is pulled if it is not here.")
    ] = "smollm2",
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="The question; without one a conversation starts. Piped text is appended."
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 always takes the likeliest token.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="Longest answer, in tokens.")] = 1024,
    seed: Annotated[int | None, typer.Option(help="Makes an answer with a temperature repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer to one question as JSON.")] = False,
) -> None:
    """Ask a model, or talk to it. Ctrl-C stops an answer; Ctrl-D ends the conversation."""
    from .pull import ensure_pulled

    settings = load_settings()
    question = with_piped_text(prompt)
    if as_json and question is None:
        raise InvalidValue("With --json there is one question: cupola run smollm2 --json 'What is a cupola?'")
    ensure_pulled(settings, model)
    options = {"model": model, "temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    opening: list[Message] = [{"role": "system", "content": system}] if system is not None else []
    asyncio.run(_session(settings, options, opening, question, as_json=as_json))


def with_piped_text(prompt: str | None) -> str | None:
    """The prompt, with what was piped in behind it."""
    if sys.stdin.isatty():
        return prompt
    try:
        piped = sys.stdin.read().strip()
    except UnicodeDecodeError:
        raise InvalidValue("What was piped in is not UTF-8 text.") from None
    if not piped and prompt is None:
        raise InvalidValue("No prompt was given and nothing was piped in. Try: cupola run smollm2 'Hello'")
    return f"{prompt}\n\n{piped}" if prompt and piped else prompt or piped


async def _session(
    settings: Settings, options: dict[str, Any], opening: list[Message], question: str | None, *, as_json: bool
) -> None:
    from ..app import open_services

    async with open_services(settings) as services:
        conversation = Conversation(services, options, opening)
        if question is None:
            await _converse(conversation, settings)
        elif as_json:
            typer.echo(json.dumps(await conversation.answer(question), indent=2))
        else:
            await conversation.ask(question)


@dataclass(slots=True)
class Conversation:
    """Messages so far, and the model that continues them."""

    services: "Services"
    options: dict[str, Any]
    messages: list[Message]

    async def ask(self, question: str) -> None:
        """Print the answer as it comes. An answer that was stopped or failed leaves the conversation as it was."""
        from ..chat.events import Reasoning, Text

        asked: list[Message] = [*self.messages, {"role": "user", "content": question}]
        answer = ""
        try:
            async with aclosing(self._turns(asked)) as turns:
                async for turn in turns:
                    for event in turn.events:
                        if isinstance(event, Text):
                            answer += event.text
                            sys.stdout.write(event.text)
                            sys.stdout.flush()
                        elif isinstance(event, Reasoning):  # for who watches, and not for a pipe
                            typer.secho(event.text, dim=True, nl=False, err=True)
                    if turn.finish == "length":
                        typer.secho(" [cut: see --max-tokens]", dim=True, nl=False, err=True)
        finally:
            sys.stdout.write("\n")
        self.messages = [*asked, {"role": "assistant", "content": answer}]

    async def answer(self, question: str) -> dict[str, Any]:
        """The whole answer, its thoughts apart, and what it took."""
        from ..chat.events import Reasoning, Text

        said: dict[str, Any] = {"model": self.options["model"], "content": "", "reasoning": ""}
        async with aclosing(self._turns([*self.messages, {"role": "user", "content": question}])) as turns:
            async for turn in turns:
                for event in turn.events:
                    if isinstance(event, Text | Reasoning):
                        said["content" if isinstance(event, Text) else "reasoning"] += event.text
                said |= {"finish_reason": turn.finish} if turn.finish else {}
                said |= {"usage": msgspec.to_builtins(turn.usage)} if turn.usage else {}
        return said

    async def _turns(self, messages: list[Message]) -> AsyncGenerator["Turn"]:
        from ..api.converse import converse
        from ..api.generation import Stamp
        from ..api.schemas.chat import ChatRequest

        body = ChatRequest.model_validate({**self.options, "messages": messages})
        stamp = Stamp.new("cli", self.services, body.model)
        async with aclosing(converse(self.services, body.conversation(), stamp, None)) as turns:
            async for turn in turns:
                yield turn


async def _converse(conversation: Conversation, settings: Settings) -> None:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    settings.home.mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(settings.home / "history")))
    typer.secho("Ctrl-C stops an answer, Ctrl-D ends the conversation.", dim=True)
    while True:
        try:
            question = (await session.prompt_async("> ")).strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if question:
            await _interruptible(conversation, question)


async def _interruptible(conversation: Conversation, question: str) -> None:
    """Ask; Ctrl-C stops the answer, not the program."""
    task = asyncio.ensure_future(conversation.ask(question))
    loop = asyncio.get_running_loop()
    previous = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(task.cancel))
    try:
        await task
    except asyncio.CancelledError:
        typer.secho("(stopped)", dim=True)
    except CupolaError as error:
        typer.secho(f"Error: {error.message}", fg="red", err=True)
    finally:
        signal.signal(signal.SIGINT, previous)
