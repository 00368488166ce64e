"""Log-probabilities in the shape of OpenAI's completions: tokens, their places in the text, the likeliest of each."""

import codecs
from collections.abc import Iterable, Iterator

from ..types import TokenLogprob
from .schemas.completions import CompletionLogprobs

Piece = tuple[TokenLogprob, bytes]  # a token, and the bytes of text that it stands for


class ScoredText:
    """The tokens of one choice as they come. Offsets count characters of the text, echo included."""

    def __init__(self, *, top: bool) -> None:
        self._top = top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._length = 0  # characters that are whole

    def add(self, pieces: Iterable[Piece], prompt: Iterable[Piece] = ()) -> CompletionLogprobs:
        """The next tokens, the first ones after those of an echoed prompt. A token inside a character has the place of
        that character."""
        said = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[] if self._top else None, text_offset=[])
        self._write(prompt, said)
        if prompt:
            self._length += len(
                self._decoder.decode(b"", final=True)
            )  # no answer completes the prompt's last character
        self._write(pieces, said)
        return said

    def _write(self, pieces: Iterable[Piece], said: CompletionLogprobs) -> None:
        for scored, piece in pieces:
            said.tokens.append(spelled(piece))
            said.token_logprobs.append(scored.logprob)
            said.text_offset.append(self._length)
            if said.top_logprobs is not None:
                said.top_logprobs.append(_likeliest(scored))
            self._length += len(self._decoder.decode(piece))


def spelled(piece: bytes) -> str:
    """A token's text; one that is no whole text as OpenAI has it, `bytes:\\xe2\\x80`."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def _likeliest(scored: TokenLogprob) -> dict[str, float] | None:
    """Log-probabilities by text, with the token's own; of two tokens with one text the likelier. None for the first
    token of a prompt."""
    if scored.logprob is None:
        return None
    found: dict[str, float] = {}
    for likely in scored.top:
        found.setdefault(_named(likely.token, likely.text), likely.logprob)
    found.setdefault(_named(scored.token, scored.text), scored.logprob)
    return found


def _named(token: int, piece: bytes) -> str:
    return spelled(piece) if piece else f"token_id:{token}"  # a control token has no text


def generated(scores: Iterable[TokenLogprob]) -> Iterator[Piece]:
    """Tokens of an answer: its text is made of them."""
    return ((scored, scored.text) for scored in scores)


def aligned(scores: Iterable[TokenLogprob], text: str) -> Iterator[Piece]:
    """Tokens of a prompt, each with the bytes of `text` that it stands for.

    These differ from its own where the text spells a control token, and where a tokenizer puts a space before the text.
    """
    whole, at = text.encode(), 0
    held: TokenLogprob | None = None  # a control token, whose spelling ends where the next token begins
    for scored in scores:
        piece = scored.text
        if not piece:
            if held is not None:
                yield held, b""
            held = scored
            continue
        if at == 0 and not whole.startswith(piece) and whole.startswith(piece[1:]) and piece[:1] == b" ":
            piece = piece[1:]
        if held is not None:
            found = max(whole.find(piece, at), at)
            yield held, whole[at:found]
            held, at = None, found
        yield scored, piece
        at += len(piece)
    if held is not None:
        yield held, whole[at:]
