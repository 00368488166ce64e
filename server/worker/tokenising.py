"""Answers that need a tokenizer and no engine."""

from ..errors import InvalidValue
from ..runners.base import Tokenizer
from .messages import Detokenise, Text, Tokenise, Tokens, TokensRefused


def tokens_of(tokenizer: Tokenizer, order: Tokenise) -> Tokens | TokensRefused:
    """Token ids of a text."""
    try:
        tokens = tokenizer.encode(order.text, special=order.special)
    except InvalidValue as error:
        return TokensRefused(order.id, error.message)
    brings_it = order.special and bool(tokenizer.bos_token) and order.text.startswith(tokenizer.bos_token)
    if not order.leading and not brings_it:
        tokens = _bare(tokenizer, tokens)
    return Tokens(order.id, tokens, [tokenizer.token_bytes(token) for token in tokens] if order.pieces else [])


def _bare(tokenizer: Tokenizer, tokens: list[int]) -> list[int]:
    """The tokens of the text itself: without what the model puts around any text, also around none."""
    own = [token for token in tokenizer.encode("", special=False) if not tokenizer.token_bytes(token)]
    first, after = own[:1], own[1:]
    if tokens[: len(first)] == first:
        tokens = tokens[len(first) :]
    if after and tokens[-len(after) :] == after:
        tokens = tokens[: -len(after)]
    return tokens


def text_of(tokenizer: Tokenizer, vocab_size: int, order: Detokenise) -> Text | TokensRefused:
    """The text of token ids."""
    wrong = next((token for token in order.tokens if not 0 <= token < vocab_size), None)
    if wrong is not None:
        return TokensRefused(order.id, f"tokens: the model has no token {wrong}; ids are below {vocab_size}.")
    text = b"".join(tokenizer.token_bytes(token) for token in order.tokens)
    return Text(order.id, text.decode("utf-8", "replace"))
