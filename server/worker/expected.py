"""Requests between the pipe and the thread that computes, of text and of vectors alike. Pure."""

from dataclasses import dataclass

from ..errors import CupolaError
from .messages import Text, Tokens, TokensRefused

LONG_PROMPT = 16_384  # characters; a longer text is tokenised beside the reader


@dataclass(frozen=True, slots=True)
class Expect:
    """A request is being prepared by a helper: what comes next of it may be its cancellation."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A request that failed before it was ready to run."""

    request_id: str
    error: CupolaError


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that needs no engine, for the one thread that writes to the pipe."""

    message: Tokens | Text | TokensRefused


class Expected:
    """Those that a helper prepares, and those of them that were cancelled meanwhile. One thread is its only user."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._unwanted: set[str] = set()

    def add(self, request_id: str) -> None:
        self._wanted.add(request_id)

    def cancel(self, request_id: str) -> bool:
        """Whether the request is still with a helper; then it is forgotten when it comes."""
        if request_id not in self._wanted:
            return False
        self._wanted.remove(request_id)
        self._unwanted.add(request_id)
        return True

    def arrived(self, request_id: str) -> bool:
        """Note that a request came, from a helper or without one; False if it was cancelled before."""
        wanted = request_id not in self._unwanted
        self._wanted.discard(request_id)
        self._unwanted.discard(request_id)
        return wanted
