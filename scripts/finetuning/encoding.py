"""Conversations as tokens, by the model's own chat template, with the positions that are learned."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from server.errors import InvalidValue
from server.settings import load_settings

from ..examples import Example, Turn
from ..template import check_template

IGNORED = -100  # a label that no loss counts


@dataclass(frozen=True, slots=True)
class Encoded:
    """`labels` are the tokens where they are learned, and IGNORED elsewhere; both [length]. `number`: its place."""

    tokens: list[int]
    labels: list[int]
    number: int = 0


class Encoder:
    """Encodes as the server will: the prompt is what the template makes of it with a generation prompt at its end."""

    def __init__(self, tokenizer: Any, longest: int, answers: Literal["last", "all"] = "last") -> None:
        if not tokenizer.chat_template:
            raise InvalidValue(
                "The tokenizer has no chat template; put the model's chat_template.jinja into its folder."
            )
        self._tokenizer = tokenizer
        self._longest = longest
        self._answers = answers

    def all(self, examples: Iterable[Example], origin: str) -> list[Encoded]:
        """Raises InvalidValue that counts the examples which are too long, and names the first."""
        encoded = [(example, self.one(example)) for example in examples]
        long = [(example, len(item.tokens)) for example, item in encoded if len(item.tokens) > self._longest]
        if long:
            example, length = long[0]
            raise InvalidValue(
                f"{len(long)} of {len(encoded)} examples of {origin} have more than {self._longest} tokens; the first,"
                f" {example.id or repr(example.prompt[-1].content[:40])}, has {length}. Shorten or leave them out:"
                f" python -m scripts prepare-data --context {self._longest}"
            )
        return [replace(item, number=number) for number, (_, item) in enumerate(encoded)]

    def one(self, example: Example) -> Encoded:
        """Raises InvalidValue where the template does not put an answer right behind its prompt."""
        if example.text:
            tokens = self._plain(example.text)
            if len(tokens) < 2:
                raise InvalidValue(f"The text {example.text[:40]!r} is one token, of which nothing can be learned.")
            return Encoded(tokens, [IGNORED, *tokens[1:]])
        turns = example.messages
        tokens = self._tokens(turns)
        labels = [IGNORED] * len(tokens)
        spoken = [index for index, turn in enumerate(turns) if turn.role == "assistant" and index > 0]
        for index in spoken if self._answers == "all" else spoken[-1:]:
            asked, said = self._tokens(turns[:index], asks=True), self._tokens(turns[: index + 1])
            start, end = len(asked), len(said)
            if asked != tokens[:start] or not start < end:
                raise InvalidValue(
                    "The chat template writes an answer otherwise than it asks for one, so what is learned would not"
                    " be what is served."
                )
            if said != tokens[:end]:
                raise InvalidValue(
                    "The chat template writes an earlier answer otherwise than the last one, which alone can be"
                    " learned; take answers: last."
                )
            labels[start:end] = tokens[start:end]
        return Encoded(tokens, labels)

    def prompt(self, example: Example) -> list[int]:
        """What the model is given to answer."""
        return self._tokens(example.prompt, asks=True)

    def _tokens(self, turns: Sequence[Turn], *, asks: bool = False) -> list[int]:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
        except (TemplateError, TypeError) as error:
            said, reason = turns[-1].content[:40], " ".join(str(error).split())[:150]
            raise InvalidValue(f"The chat template refuses the conversation of {said!r}: {reason}.") from None
        return self._plain(text)

    def _plain(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found


def load_tokenizer(folder: Any) -> Any:
    """The tokenizer of a checkpoint; nothing of it is executed. Padding is its own, or the end of the text.

    Raises InvalidValue, also where its chat template does not come to an end.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001  # tokenizers has no class of its own for a damaged file
        reason = " ".join(str(error).split())[:300]
        raise InvalidValue(f"{folder} has no tokenizer that can be loaded: {reason}") from None
    templates = tokenizer.chat_template or {}
    for template in templates.values() if isinstance(templates, dict) else (templates,):
        check_template(template, load_settings())
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
