"""The items of an answer as they grow, and the events that tell of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ...types import TokenLogprob
from ..schemas.chat_answer import TokenBody
from ..schemas.responses_items import (
    FunctionCallItem,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
    Status,
    new_id,
)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a stream, without its number. Fields may be models: whoever encodes it does so at once."""

    type: str
    fields: Fields


class Growing:
    """An item, the `index`-th of its answer. Its text comes in pieces."""

    prefix: ClassVar[str]

    def __init__(self, index: int) -> None:
        self.id = new_id(self.prefix)
        self._index = index
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def item(self, status: Status) -> OutputItem:
        """The item as it is now."""
        raise NotImplementedError

    def begin(self) -> Iterator[Event]:
        yield Event("response.output_item.added", {"output_index": self._index, "item": self.item("in_progress")})

    def end(self, status: Status) -> Iterator[Event]:
        yield Event("response.output_item.done", {"output_index": self._index, "item": self.item(status)})

    def _event(self, event: str, /, **fields: Any) -> Event:
        return Event(f"response.{event}", {"item_id": self.id, "output_index": self._index, **fields})


class GrowingCall(Growing):
    prefix = "fc"

    def __init__(self, index: int, call_id: str, name: str) -> None:
        super().__init__(index)
        self._call_id = call_id
        self._name = name

    def item(self, status: Status) -> FunctionCallItem:
        return FunctionCallItem(id=self.id, status=status, call_id=self._call_id, name=self._name, arguments=self.text)

    def more(self, text: str) -> Iterator[Event]:
        self._pieces.append(text)
        yield self._event("function_call_arguments.delta", delta=text)

    def end(self, status: Status) -> Iterator[Event]:
        yield self._event("function_call_arguments.done", name=self._name, arguments=self.text)
        yield from super().end(status)


class _GrowingPart(Growing):
    """An item with one part of text. The part is there once it was announced."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._announced = False

    def part(self) -> OutputText | ReasoningText:
        raise NotImplementedError

    def begin(self) -> Iterator[Event]:
        yield from super().begin()
        self._announced = True
        yield self._event("content_part.added", content_index=0, part=self.part())

    def end(self, status: Status) -> Iterator[Event]:
        yield self._event("content_part.done", content_index=0, part=self.part())
        yield from super().end(status)


class GrowingReasoning(_GrowingPart):
    prefix = "rs"

    def part(self) -> ReasoningText:
        return ReasoningText(text=self.text)

    def item(self, status: Status) -> ReasoningItem:
        return ReasoningItem(id=self.id, status=status, content=[self.part()] if self._announced else [])

    def more(self, text: str) -> Iterator[Event]:
        self._pieces.append(text)
        yield self._event("reasoning_text.delta", content_index=0, delta=text)

    def end(self, status: Status) -> Iterator[Event]:
        yield self._event("reasoning_text.done", content_index=0, text=self.text)
        yield from super().end(status)


class GrowingMessage(_GrowingPart):
    prefix = "msg"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._logprobs: list[TokenBody] = []

    def part(self) -> OutputText:
        return OutputText(text=self.text, logprobs=self._logprobs)

    def item(self, status: Status) -> OutputMessage:
        return OutputMessage(id=self.id, status=status, content=[self.part()] if self._announced else [])

    def more(self, text: str, scored: tuple[TokenLogprob, ...] = ()) -> Iterator[Event]:
        logprobs = [TokenBody.of_scored(one) for one in scored]
        self._pieces.append(text)
        self._logprobs += logprobs
        yield self._event("output_text.delta", content_index=0, delta=text, logprobs=logprobs)

    def end(self, status: Status) -> Iterator[Event]:
        yield self._event("output_text.done", content_index=0, text=self.text, logprobs=self._logprobs)
        yield from super().end(status)
