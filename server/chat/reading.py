"""What reads an answer as it comes: the splitter of thoughts and the readers of calls. Pure."""

from collections.abc import Callable

from .events import CallArguments, ChatEvent, Text

State = Callable[[], bool]


class Reading:
    """One answer. Each state is a method that reads `_held` and says whether another step may follow at once.

    The result must not depend on how the text is cut, so a state waits while what follows could change what it does.
    """

    def __init__(self, first: State) -> None:
        self._state = first
        self._held = ""  # not read yet
        self._final = False
        self._events: list[ChatEvent] = []

    def push(self, text: str) -> list[ChatEvent]:
        """The events that are certain now."""
        self._held += text
        while self._state():
            pass
        events, self._events = self._events, []
        return events

    def finish(self) -> list[ChatEvent]:
        """The end of the answer: the rest of the events."""
        self._final = True
        return self.push("")

    def _say(self, text: str) -> None:
        if text:
            self._events.append(Text(text))

    def _argue(self, call: int, text: str) -> None:
        if text:
            self._events.append(CallArguments(call, text))
