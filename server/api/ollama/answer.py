"""Turns as the lines of Ollama's streams, and as its whole answers. Pure, but for the time."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from ...chat.events import CallArguments, CallBegun, Reasoning, Text
from ...errors import CupolaError
from ...types import TokenLogprob, Usage
from ..arguments import as_object
from ..conversation import Call, Turn
from ..error_shapes import ollama
from ..errors import detail_of, error_response
from ..schemas.chat_answer import TokenBody
from ..sse import Dialect

Line = dict[str, Any]
Said = dict[str, Any]  # what an answer or a piece of one says: content, thinking, tool_calls
Place = Callable[[Said], Line]


def in_message(said: Said) -> Line:
    """Where /api/chat puts what is said."""
    return {"message": {"role": "assistant", **said}}


def in_response(said: Said) -> Line:
    """Where /api/generate puts it."""
    return {"response": said["content"], **{name: value for name, value in said.items() if name != "content"}}


class Lines:
    """Writes one answer, a line a turn. Calls of tools come whole, with the line after which they are complete."""

    def __init__(self, model: str, place: Place, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._place = place
        self._clock = clock
        self._began = clock()
        self._call: Call | None = None
        self._calls = 0
        self._scored: tuple[TokenLogprob, ...] = ()

    def add(self, turn: Turn) -> Iterator[Line]:
        """What a turn adds; the last line of the last turn says how the answer ended."""
        said = self._said(turn)
        self._scored += turn.logprobs
        if any(said.values()):
            yield self._line(said)
        if turn.finish and turn.usage:
            reason = "length" if turn.finish == "length" else "stop"
            yield self._line({"content": ""}) | {"done": True, "done_reason": reason} | self._durations(turn.usage)

    def loaded(self) -> Line:
        """The one line of a request that only loads the model."""
        return self._line({"content": ""}) | {"done": True, "done_reason": "load"}

    def unloaded(self) -> Line:
        """The same of one that unloads it."""
        return self._line({"content": ""}) | {"done": True, "done_reason": "unload"}

    def _said(self, turn: Turn) -> Said:
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[Line] = []
        for event in turn.events:
            if not isinstance(event, CallArguments):
                calls += self._complete()
            match event:
                case Text(text):
                    texts.append(text)
                case Reasoning(text):
                    thoughts.append(text)
                case CallBegun(_, call_id, name):
                    self._call = Call(call_id, name)
                case CallArguments(_, text):
                    assert self._call is not None, "arguments follow their call"
                    self._call.arguments += text
        if turn.finish:
            calls += self._complete()
        said: Said = {"content": "".join(texts)}
        if any(thoughts):
            said["thinking"] = "".join(thoughts)
        if calls:
            said["tool_calls"] = calls
        return said

    def _complete(self) -> list[Line]:
        """The call that was being written, as a whole."""
        call, self._call = self._call, None
        if call is None:
            return []
        function = {"index": self._calls, "name": call.name, "arguments": as_object(call.arguments)}
        self._calls += 1
        return [{"id": call.id, "function": function}]

    def _line(self, said: Said) -> Line:
        scored, self._scored = self._scored, ()
        logprobs = {"logprobs": [TokenBody.of_scored(one).model_dump() for one in scored]} if scored else {}
        created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"model": self._model, "created_at": created, **self._place(said), **logprobs, "done": False}

    def _durations(self, usage: Usage) -> Line:
        """Nanoseconds. Whatever came before the prompt counts as loading: the load, the template, the queue."""
        total = self._clock() - self._began
        return {
            "total_duration": nanoseconds(total),
            "load_duration": nanoseconds(total - usage.prompt_seconds - usage.decode_seconds),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": nanoseconds(usage.prompt_seconds),
            "eval_count": usage.completion_tokens,
            "eval_duration": nanoseconds(usage.decode_seconds),
        }


def nanoseconds(seconds: float) -> int:
    """At least one, since clients divide by durations."""
    return max(int(seconds * 1e9), 1)


async def stream(lines: Lines, turns: AsyncGenerator[Turn]) -> AsyncGenerator[bytes]:
    """The lines as they come."""
    async with aclosing(turns):
        async for turn in turns:
            if written := b"".join(map(encode, lines.add(turn))):
                yield written


async def whole(lines: Lines, turns: AsyncGenerator[Turn]) -> Line:
    """The plain answer is the stream, collected."""
    written: list[Line] = []
    async with aclosing(turns):
        async for turn in turns:
            written += lines.add(turn)
    return collected(written)


def collected(lines: list[Line]) -> Line:
    """The last line, with all that was said in any."""
    last = _gathered(lines)
    if "message" in last:
        last["message"] = _gathered([line["message"] for line in lines])
    return last


def _gathered(lines: list[Line]) -> Line:
    texts = {name: [line[name] for line in lines if name in line] for name in ("content", "response", "thinking")}
    lists = {name: [one for line in lines for one in line.get(name, ())] for name in ("tool_calls", "logprobs")}
    whole = {name: "".join(pieces) for name, pieces in texts.items() if pieces}
    return {**lines[-1], **whole, **{name: found for name, found in lists.items() if found}}


def encode(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def _failed(error: CupolaError) -> bytes:
    return encode(ollama(error.status, detail_of(error)))


def _refused(error: CupolaError) -> Response:
    return error_response(error, ollama)


# The line with `done` ends a stream, so nothing follows it.
DIALECT = Dialect("application/x-ndjson", end=b"", failure=_failed, refusal=_refused)
