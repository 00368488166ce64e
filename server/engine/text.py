"""From token bytes to text that may be shown: whole UTF-8 only, and never the start of a stop string. Pure."""

import codecs


class TextStream:
    """Text of one sequence. What `push` returns is final: later tokens cannot change it."""

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        # A token may end inside a character; bytes that can never become one turn into U+FFFD.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = stop
        self._held = ""
        self.stopped: str | None = None  # the stop string that ended the text

    def push(self, piece: bytes) -> str:
        """Add the bytes of one token; the text that is certain now. After a stop string nothing more comes."""
        return self._release(self._decoder.decode(piece))

    def flush(self) -> str:
        """The end of the sequence: what was held back is text after all."""
        if self.stopped is not None:
            return ""
        released = self._release(self._decoder.decode(b"", final=True))
        if self.stopped is not None:
            return released
        rest, self._held = self._held, ""
        return released + rest

    def _release(self, text: str) -> str:
        self._held += text
        found = [(at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            at, self.stopped = min(found)
            shown, self._held = self._held[:at], ""
            return shown
        keep = self._possible_stop()
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def _possible_stop(self) -> int:
        """Length of the longest end of the held text that a stop string begins with."""
        longest = max((len(stop) - 1 for stop in self._stop), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
