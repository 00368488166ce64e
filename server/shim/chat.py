"""A conversation in the terminal, as `foundry model run` has it."""

import json
import time
from contextlib import closing
from typing import Any

import typer

from ..errors import CupolaError
from .remote import Remote

HELP = "Type a question. /exit ends the chat, /clear forgets it, Ctrl+C stops an answer."


class Chat:
    """Messages so far. An answer that was stopped or failed leaves them as they were."""

    def __init__(self, server: Remote, model: str, *, verbose: bool) -> None:
        self._server = server
        self._model = model
        self._verbose = verbose
        self.messages: list[dict[str, str]] = []

    def ask(self, question: str) -> None:
        """Print the answer as it comes."""
        asked = [*self.messages, {"role": "user", "content": question}]
        body: dict[str, Any] = {"model": self._model, "messages": asked, "stream": True}
        usage: dict[str, int] = {}
        began, first, said = time.monotonic(), 0.0, ""
        typer.echo("🤖 ", nl=False)
        with closing(
            self._server.lines("/v1/chat/completions", body | {"stream_options": {"include_usage": True}})
        ) as lines:
            for line in lines:
                event = _event(line)
                text = "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
                first = first or (time.monotonic() if text else 0.0)
                usage = event.get("usage") or usage
                said += text
                typer.echo(text, nl=False)
        typer.echo()
        self.messages = [*asked, {"role": "assistant", "content": said}]
        if self._verbose and usage and first:
            _measured(usage["completion_tokens"], first - began, time.monotonic() - began)


def _event(line: str) -> dict[str, Any]:
    """The JSON of one line of the stream; empty for others. Raises CupolaError for a failure in its midst."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return {}
    event: dict[str, Any] = json.loads(data)
    if "error" in event:
        raise CupolaError(str(event["error"]["message"]))
    return event


def _measured(tokens: int, first: float, whole: float) -> None:
    rest = whole - first
    typer.echo(f"Total Tokens/Second: {tokens / whole:.2f}")
    typer.echo(f"Time to First Token: {first:.3f} s")
    typer.echo(f"Average Token Generation Time: {1000 * rest / max(tokens - 1, 1):.1f} ms")
    typer.echo(f"Total Time: {whole:.2f} s")
    typer.echo(f"Total Tokens: {tokens}")


def converse(chat: Chat) -> None:
    """Questions until the end of input or /exit."""
    typer.echo("Interactive Chat. Enter /? or /help for help.")
    typer.echo("Press Ctrl+C to cancel generation. Type /exit to leave the chat.")
    typer.echo("Interactive mode, please enter your prompt")
    while True:
        try:
            question = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        match question:
            case "":
                continue
            case "/exit" | "/quit" | "/bye":
                return
            case "/?" | "/help":
                typer.echo(HELP)
            case "/clear":
                chat.messages = []
            case _:
                _answered(chat, question)


def _answered(chat: Chat, question: str) -> None:
    try:
        chat.ask(question)
    except KeyboardInterrupt:
        typer.echo("\n(stopped)")
    except CupolaError as error:
        typer.secho(f"Error: {error.message}", fg="red", err=True)
