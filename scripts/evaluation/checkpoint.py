"""Answers of a torch checkpoint, or of an adapter in its base: greedy, in batches padded on the left."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from server.errors import InvalidValue

from ..finetuning.encoding import Encoder, load_tokenizer
from ..finetuning.loading import load_trained
from ..finetuning.model import context_of
from .answers import Answer, Asked, prompt_hash
from .order import Order
from .places import place


class Checkpoint:
    """A model that is loaded. Raises InvalidValue."""

    def __init__(self, target: str, order: Order) -> None:
        where = place(target)
        tokenizer = load_tokenizer(where.tokenizer)
        self._model = load_trained(where.folder, where.base)
        self._encoder = Encoder(tokenizer, context_of(self._model))
        self._tokenizer, self._order = tokenizer, order
        ends = self._model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = set(ends if isinstance(ends, list) else [ends])
        self._model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False, max_new_tokens=order.max_tokens, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
        )  # in place of the model's own, whose penalties would be filled in

    @torch.inference_mode()
    def __call__(self, asked: list[Asked]) -> Iterator[Answer]:
        """Timed ones one by one, the others in batches of about the same length."""
        self._generate([self._encoder.prompt(asked[0].example)], None)  # the first is slower than all others
        for one in asked:
            if one.timed:
                yield self._timed(one)
        rest = sorted((one for one in asked if not one.timed), key=lambda one: len(self._encoder.prompt(one.example)))
        for start in range(0, len(rest), self._order.batch):
            batch = rest[start : start + self._order.batch]
            written = self._generate([self._encoder.prompt(one.example) for one in batch], None)
            for one, tokens in zip(batch, written, strict=True):
                yield self._answer(one, tokens)

    def _timed(self, asked: Asked) -> Answer:
        began = time.perf_counter()
        clock = _First()
        [tokens] = self._generate([self._encoder.prompt(asked.example)], clock)
        seconds = time.perf_counter() - began
        first = None if clock.at is None else clock.at - began
        return self._answer(asked, tokens, seconds=seconds, first_seconds=first)

    def _generate(self, prompts: list[list[int]], clock: "_First | None") -> list[list[int]]:
        """What each prompt is continued with, without the token that ended it."""
        longest = max(map(len, prompts))
        room = context_of(self._model) - self._order.max_tokens
        if longest > room:
            raise InvalidValue(f"A prompt has {longest} tokens, and {room} leave room for the answer.")
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        made = self._model.generate(input_ids=ids, attention_mask=mask, streamer=clock)
        return [row[longest:].tolist() for row in made]

    def _answer(
        self, asked: Asked, tokens: list[int], seconds: float | None = None, first_seconds: float | None = None
    ) -> Answer:
        end = next((number for number, token in enumerate(tokens) if token in self._ends), None)
        said = tokens if end is None else tokens[:end]
        text = str(self._tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        loss, count = self._loss(asked) if asked.scored else (None, 0)
        return Answer(
            asked.key,
            asked.example.id,
            prompt_hash(asked.example),
            text,
            cut=end is None,
            tokens=len(said) + (end is not None),
            loss=loss,
            loss_tokens=count,
            seconds=seconds,
            first_seconds=first_seconds,
        )

    def _loss(self, asked: Asked) -> tuple[float, int]:
        """Of the tokens of the answer wanted behind its prompt, without what ends it: what a server can score too."""
        turns = [{"role": turn.role, "content": turn.content} for turn in asked.example.prompt]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        whole: list[int] = self._tokenizer(text + asked.example.answer, add_special_tokens=False)["input_ids"]
        prompt = self._encoder.prompt(asked.example)
        same = next((i for i, pair in enumerate(zip(prompt, whole, strict=False)) if pair[0] != pair[1]), len(prompt))
        scores = self._model(input_ids=torch.tensor([whole])).logits[0, same - 1 : -1].log_softmax(-1)
        wanted = torch.tensor(whole[same:])
        return float(-scores.gather(1, wanted[:, None]).sum()), len(wanted)


class _First(BaseStreamer):
    """When the first token of the answer came; `generate` puts the prompt before it."""

    def __init__(self) -> None:
        self.at: float | None = None
        self._puts = 0

    def put(self, value: Any) -> None:
        self._puts += 1
        if self._puts == 2:
            self.at = time.perf_counter()

    def end(self) -> None:
        """Nothing is held back."""
