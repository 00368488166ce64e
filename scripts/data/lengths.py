"""How long examples are: in tokens of the model as it will read them, or in characters where no model is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from converters.checkpoint import checked_config
from server.errors import InvalidValue
from server.settings import load_settings

from ..checkpoint import find_checkpoint
from ..examples import Example
from ..finetuning.encoding import load_tokenizer
from ..positions import reach
from .order import Order
from .row import Bad


@dataclass(frozen=True, slots=True)
class Length:
    """Of the whole example, and of its answer alone."""

    whole: int
    answer: int


class Meter(Protocol):
    """Measures several at once."""

    unit: str

    def measure(self, examples: Sequence[Example]) -> list[Length | Bad]: ...


class Characters:
    """Without a model."""

    unit = "characters"

    def measure(self, examples: Sequence[Example]) -> list[Length | Bad]:
        return [
            Length(len(one.text) + sum(len(turn.content) for turn in one.messages), len(_answer(one)))
            for one in examples
        ]


class Tokens:
    """By the model's own tokenizer and chat template; an example that is longer than the context is bad."""

    unit = "tokens"

    def __init__(self, tokenizer: Any, context: int | None, name: str) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._name = name

    def measure(self, examples: Sequence[Example]) -> list[Length | Bad]:
        """Raises InvalidValue for conversations where the tokenizer has no chat template."""
        texts = [self._text(example) for example in examples]
        wholes = self._count([text for text in texts if isinstance(text, str)])
        answers = self._count(
            [_answer(one) for one, text in zip(examples, texts, strict=True) if isinstance(text, str)]
        )
        pairs = iter(zip(wholes, answers, strict=True))
        return [text if isinstance(text, Bad) else self._judged(*next(pairs)) for text in texts]

    def _judged(self, whole: int, answer: int) -> Length | Bad:
        if self._context is not None and whole > self._context:
            return Bad("too long", f"{whole} tokens, and the context has {self._context}")
        return Length(whole, answer)

    def _text(self, example: Example) -> str | Bad:
        from jinja2.exceptions import TemplateError

        if not example.messages:
            return example.text
        if not self._tokenizer.chat_template:
            raise InvalidValue(
                f"The tokenizer of {self._name} has no chat template; put the model's chat_template.jinja into its"
                " folder."
            )
        try:
            made: str = self._tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in example.messages], tokenize=False
            )
        except TemplateError as error:
            return Bad("template refused", f"the chat template refuses it: {' '.join(str(error).split())}")
        return made

    def _count(self, texts: list[str]) -> list[int]:
        if not texts:
            return []
        found = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [len(tokens) for tokens in found["input_ids"]]


def _answer(example: Example) -> str:
    return example.answer if example.messages else example.text


def meter(order: Order) -> tuple[Meter, Path | None]:
    """What the order counts with, and the checkpoint's folder. Raises InvalidValue."""
    if order.tokenizer is None:
        return Characters(), None
    folder = find_checkpoint(order.tokenizer, load_settings())
    context = reach(checked_config(folder))
    if order.context is not None and context is not None and order.context > context:
        raise InvalidValue(f"--context {order.context} is more than the {context} tokens of {order.tokenizer}.")
    return Tokens(load_tokenizer(folder), order.context or context, order.tokenizer), folder
