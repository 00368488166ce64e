"""Grammars that an answer must match, compiled by llguidance and asked for a mask before each token.

One path for every engine: the vocabulary comes as bytes from the runner's own tokenizer. A grammar is compiled once
and copied for each sequence. Every step has a budget of work, in units of the library that do not depend on the
machine; what compiling may take is tried in a process that can be killed (`trial`). Past either the request fails.
Nothing is ever generated without the mask that was asked for.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import llguidance
import numpy as np
import numpy.typing as npt

from ..chat import reasoning
from ..errors import EngineFailed, InvalidValue
from ..runners.base import Tokenizer
from ..types import Grammar
from .ending import Ending, Kinds
from .grammars import first_line, limits, source_of

Attempt = Callable[[Grammar], int]
Bools = npt.NDArray[np.bool_]
KEPT = 64  # compiled grammars
KEPT_BYTES = 256 << 20  # that they take together


class Guide:
    """The state of one sequence in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, pieces: Sequence[bytes], ending: Ending | None) -> None:
        self._matcher = matcher
        self._pieces = pieces
        self._ending = ending
        self._bits = np.zeros((len(pieces) + 31) // 32, np.int32)

    @property
    def finished(self) -> bool:
        """Whether the grammar is fulfilled and nothing can follow."""
        return self._matcher.is_stopped()

    def allowed(self, left: int, budget: int) -> Bools:
        """Which tokens may come next, [vocab_size], where `left` of `budget` tokens are left.

        Raises EngineFailed when the grammar needs too much work here.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            raise EngineFailed(f"The grammar of the answer became too complex: {first_line(self._matcher)}")
        count = len(self._pieces)
        mask: Bools = np.unpackbits(self._bits.view(np.uint8), bitorder="little", count=count).view(np.bool_)
        return mask if self._ending is None else self._ending.narrowed(mask, left, budget)

    def accept(self, token: int) -> None:
        """Take the token that was drawn. Raises EngineFailed for one that was not allowed."""
        if not self._matcher.consume_token(token):
            raise EngineFailed(f"The grammar of the answer refused a token: {first_line(self._matcher)}")
        if self._ending is not None:
            self._ending.accept(token)

    def copy(self) -> "Guide":
        """The same state, for another continuation."""
        return Guide(self._matcher.deep_copy(), self._pieces, self._ending and self._ending.copy())


class Guides:
    """The compiled grammars of one model, the latest ones kept. Any thread may ask."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, attempt: Attempt = lambda _: 0) -> None:
        """`attempt` says what a grammar takes, in bytes, before it is compiled here, or raises InvalidValue."""
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._attempt = attempt
        self._making = threading.Lock()  # held while one grammar is tried and compiled: seconds
        self._books = threading.Lock()  # held for moments only: whoever asks for what is kept does not wait
        self._sizes: dict[Grammar, int] = {}
        self._vocabulary: Vocabulary | None = None
        self._compiled: OrderedDict[Grammar, Guide] = OrderedDict()

    def compile(self, grammar: Grammar) -> Guide:
        """A guide at its start. Raises InvalidValue, saying where, for a grammar that cannot be enforced."""
        if guide := self.kept(grammar):
            return guide
        with self._making:
            if guide := self.kept(grammar):  # made while this thread waited
                return guide
            made, size = self._make(grammar)
        self._keep(grammar, made, size)
        return made.copy()

    def kept(self, grammar: Grammar) -> Guide | None:
        """A guide at its start, if the grammar was compiled lately. Never waits for another's compiling."""
        with self._books:
            guide = self._compiled.get(grammar)
            if guide is None:
                return None
            self._compiled.move_to_end(grammar)
            return guide.copy()

    def _keep(self, grammar: Grammar, guide: Guide, size: int) -> None:
        with self._books:
            self._compiled[grammar], self._sizes[grammar] = guide, size
            while len(self._compiled) > KEPT or (sum(self._sizes.values()) > KEPT_BYTES and len(self._compiled) > 1):
                oldest, _ = self._compiled.popitem(last=False)
                del self._sizes[oldest]

    def _make(self, grammar: Grammar) -> tuple[Guide, int]:
        """A guide, and the bytes that it takes."""
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self._tokenizer, self._vocab_size)
        vocabulary = self._vocabulary
        size = self._attempt(grammar)
        source = source_of(grammar, partial(control_token, self._tokenizer))
        matcher = llguidance.LLMatcher(vocabulary.compiled, source, log_level=0, limits=limits())
        matcher.compute_bitmask()  # here, where nobody else waits: the first one is the dearest
        if matcher.is_error():
            raise InvalidValue(f"{grammar.param}: {first_line(matcher)}", param=grammar.param)
        ending = Ending(vocabulary.kinds, grammar.thought) if grammar.json else None
        return Guide(matcher, vocabulary.pieces, ending), size


class Vocabulary:
    """The tokens of a model as llguidance and `ending` read them."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        if not tokenizer.eos_ids:
            raise InvalidValue("This model has no token that ends a text, so its answers cannot be held to a grammar.")
        self.pieces = [tokenizer.token_bytes(token) for token in range(vocab_size)]
        named = {control_token(tokenizer, text): text.encode() for text in reasoning.SHOWN}
        marks = {token: text for token, text in named.items() if token is not None}
        self.kinds = Kinds.of(self.pieces, tokenizer.eos_ids, marks)
        wrapper = llguidance.TokenizerWrapper(_Wrapped(tokenizer, self.pieces))
        self.compiled = llguidance.LLTokenizer(wrapper, n_vocab=vocab_size, eos_token=sorted(tokenizer.eos_ids))


class _Wrapped:
    """A tokenizer with the names that llguidance asks for."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, pieces: Sequence[bytes]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = min(tokenizer.eos_ids)
        self.special_token_ids = [token for token, piece in enumerate(pieces) if not piece]
        self.tokens = [piece or f"<|{token}|>".encode() for token, piece in enumerate(pieces)]

    def __call__(self, text: str) -> list[int]:
        if isinstance(text, bytes):
            raise TypeError("text, not bytes")  # the library asks once which of the two is understood
        tokens = self._tokenizer.encode(text, special=False)
        # A leading token of the model's own is no part of the text.
        return tokens[1:] if tokens and not self._tokenizer.token_bytes(tokens[0]) else tokens


def control_token(tokenizer: Tokenizer, text: str) -> int | None:
    """The special token that `text` names; None where the model has no such token."""
    tokens = tokenizer.encode(text, special=True)
    if len(tokens) > 1 and not tokenizer.token_bytes(tokens[0]):
        tokens = tokens[1:]  # what the model puts before any text
    return tokens[0] if len(tokens) == 1 and not tokenizer.token_bytes(tokens[0]) else None
