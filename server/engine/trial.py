"""A grammar is compiled in a process that can be killed, before it is compiled where others wait.

The library's limits do not cover all of its work: `multipleOf` of a large number, or patterns joined by `allOf`, take
hours and all memory from 40 bytes of schema, in native code that nothing stops. The child knows bytes as its only
tokens, since what a grammar takes hardly depends on the vocabulary. It is kept until a grammar took much.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator

import llguidance
import msgspec
import psutil

from ..child.platform import forbid_core_dumps, limit_address_space
from ..errors import EngineFailed, InvalidValue
from ..types import Grammar
from .grammars import first_line, limits, source_of

SECONDS = 2.0  # for one grammar
START_SECONDS = 20.0
MOST_BYTES = 64 << 20  # that a compiled grammar may take
MEMORY_MEGABYTES = 1024  # of address space
MUCH = 8 << 20  # after a grammar that took it the child ends: freed memory would hide what the next one takes
END = 256


class Verdict(msgspec.Struct, frozen=True):
    """What a grammar took, in bytes, or why it cannot be enforced."""

    size: int = 0
    error: str | None = None


class Trials:
    """The server's, that is the worker's, end: one child, one grammar at a time. Not thread-safe."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self, grammar: Grammar) -> int:
        """The bytes that a grammar takes.

        Raises InvalidValue for one that cannot be compiled, or takes too much, and EngineFailed without a child.
        """
        child = self._ready_child()
        verdict = self._ask(child, grammar)
        if verdict is None:
            self.close()
            raise InvalidValue(f"{grammar.param}: this takes too much time or memory to enforce.", param=grammar.param)
        if verdict.size > MUCH:
            self.close()
        if verdict.error is not None:
            raise InvalidValue(f"{grammar.param}: {verdict.error}", param=grammar.param)
        if verdict.size > MOST_BYTES:
            raise InvalidValue(f"{grammar.param}: this takes too much memory to enforce.", param=grammar.param)
        return verdict.size

    def close(self) -> None:
        """End the child, whatever it is at."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()

    def _ready_child(self) -> "subprocess.Popen[bytes]":
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        self._child = child = subprocess.Popen(
            [sys.executable, "-P", "-m", "server.engine.trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if not self._line(child, START_SECONDS):
            self.close()
            raise EngineFailed("The process that tries grammars did not start.")
        return child

    def _ask(self, child: "subprocess.Popen[bytes]", grammar: Grammar) -> Verdict | None:
        """The verdict; None if the child ended, by our hand or of itself."""
        assert child.stdin is not None
        try:
            child.stdin.write(msgspec.json.encode(grammar) + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._line(child, self._seconds)
        return msgspec.json.decode(line, type=Verdict) if line else None

    def _line(self, child: "subprocess.Popen[bytes]", seconds: float) -> bytes:
        """The next line of the child, which is killed if it takes longer; then nothing."""
        assert child.stdout is not None
        timer = threading.Timer(seconds, child.kill)
        timer.start()
        try:
            return child.stdout.readline()
        finally:
            timer.cancel()


class _Bytes:
    """A vocabulary of bytes, and a token for the end."""

    bos_token_id = None
    eos_token_id = END
    special_token_ids = (END,)
    tokens = (*(bytes([byte]) for byte in range(END)), b"<|end|>")

    def __call__(self, text: str) -> list[int]:
        if isinstance(text, bytes):
            raise TypeError("text, not bytes")
        return list(text.encode())


def judge(tokenizer: llguidance.LLTokenizer, grammar: Grammar) -> Verdict:
    """Compile, and ask what may come first."""
    before = psutil.Process().memory_info().rss
    try:
        source = source_of(grammar, lambda _: None)
    except InvalidValue as error:
        return Verdict(error=error.message.removeprefix(f"{grammar.param}: "))
    matcher = llguidance.LLMatcher(tokenizer, source, log_level=0, limits=limits())
    if not matcher.is_error():
        matcher.compute_bitmask()
    taken = max(psutil.Process().memory_info().rss - before, 0)
    return Verdict(taken, first_line(matcher) if matcher.is_error() else None)


def _orders() -> Iterator[Grammar]:
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line, type=Grammar)


def main() -> None:
    forbid_core_dumps()
    limit_address_space(MEMORY_MEGABYTES)
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes()), n_vocab=END + 1, eos_token=[END])
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    for grammar in _orders():
        sys.stdout.buffer.write(msgspec.json.encode(judge(tokenizer, grammar)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
