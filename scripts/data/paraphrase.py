"""More to train on: the last question of each training example in other words, by any OpenAI-compatible server."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import httpx
import msgspec

from server.errors import CupolaError, InvalidValue

from ..examples import Example
from .order import Paraphrase
from .store import key_of

INSTRUCTION = (
    "Rewrite the user's message in other words. Keep its language, its meaning, and every name, number and quotation."
    " Do not answer it. Reply with the rewritten message and nothing else."
)
LONGEST = 4  # times the question: a longer reply is an answer to it
NAME = 4  # letters of a word that may be one
SHORT = 32  # different words of an answer that repeats the question for its names, not for its topic
TRIES = 4
WORDS = 300  # characters of a refusal that are said
FIRST_WAIT = 0.5  # seconds before the second try; they double


class Failed(Exception):
    """No reply, and why."""


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]


class Teacher:
    """Asks for paraphrases and counts what did not become one."""

    def __init__(self, order: Paraphrase, seed: int) -> None:
        self.asked = 0
        self.failed: Counter[str] = Counter()
        self._order = order
        self._seed = seed
        self._words = ""  # of the server, when it last refused

    def paraphrases(self, examples: Sequence[Example]) -> list[Example]:
        """In the order of the examples, which end in a user's message and its answer. Raises CupolaError where the
        server has answered nothing at all."""
        tasks = [(one, number) for one in examples if _asks(one) for number in range(1, self._order.count + 1)]
        self.asked += len(tasks)
        replies = asyncio.run(self._replies(tasks))
        made: list[Example] = []
        seen: set[tuple[str, bytes]] = set()
        reasons: Counter[str] = Counter()
        for (example, number), reply in zip(tasks, replies, strict=True):
            fault = str(reply) if isinstance(reply, Failed) else _fault(example, reply)
            if isinstance(reply, Failed) or fault:
                reasons[fault] += 1
                continue
            text = (reply.message.content or "").strip()
            same = (example.id, key_of(text))
            if same in seen:
                reasons["twice the same"] += 1
                continue
            seen.add(same)
            made.append(_with(example, text, number))
        if tasks and all(isinstance(reply, Failed) for reply in replies):
            raise CupolaError(f"{self._order.url} wrote no paraphrase: {', '.join(reasons)}. {self._words}".rstrip())
        self.failed += reasons
        return made

    async def _replies(self, tasks: list[tuple[Example, int]]) -> list[_Choice | Failed]:
        turn = asyncio.Semaphore(self._order.concurrency)
        async with httpx.AsyncClient(timeout=None, trust_env=False) as client:  # noqa: S113  # the deadline is the request's
            return await asyncio.gather(*(self._reply(client, turn, *task) for task in tasks))

    async def _reply(
        self, client: httpx.AsyncClient, turn: asyncio.Semaphore, example: Example, number: int
    ) -> _Choice | Failed:
        async with turn:
            try:
                return await self._ask(client, example.prompt[-1].content, self._seed + number)
            except Failed as error:
                return error

    async def _ask(self, client: httpx.AsyncClient, question: str, seed: int) -> _Choice:
        """Tried again with exponential back-off where that can help. Raises Failed."""
        order = self._order
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question}]
        body = {"model": order.model, "messages": messages, "seed": seed, "temperature": order.temperature}
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(FIRST_WAIT * 2 ** (attempt - 1))
            try:
                async with asyncio.timeout(order.deadline):
                    response = await client.post(
                        f"{order.url.rstrip('/')}/chat/completions", json=body | {"max_tokens": order.max_tokens}
                    )
                if response.status_code == httpx.codes.OK:
                    return msgspec.json.decode(response.content, type=_Completion).choices[0]
                reason = f"status {response.status_code}"
                self._words = " ".join(response.text.split())[:WORDS]
                if response.status_code < 500 and response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    break
            except httpx.InvalidURL:
                raise InvalidValue(f"--paraphrase {order.url} is no URL; write http://HOST:PORT/v1.") from None
            except TimeoutError:
                reason = "deadline"
            except httpx.HTTPError:
                reason = "no connection"
            except (msgspec.MsgspecError, UnicodeDecodeError):
                reason = "malformed response"
        raise Failed(reason)


def _asks(example: Example) -> bool:
    return len(example.messages) > 1 and example.prompt[-1].role == "user"


def _fault(example: Example, reply: _Choice) -> str:
    """Why a reply is no paraphrase; empty where it is one."""
    text, question = (reply.message.content or "").strip(), example.prompt[-1].content
    if not text:
        return "empty"
    if reply.finish_reason == "length" or len(text) > LONGEST * max(len(question), 20):
        return "too long"
    if key_of(text) == key_of(question):
        return "the same words"
    return "" if _needed(question, example.answer) <= _words(text) else "a name or number is lost"


def _needed(question: str, answer: str) -> set[str]:
    """Words that the answer depends on: numbers, and what a short answer copies of the question."""
    asked, told = _words(question), _words(answer)
    copied = {word for word in asked & told if len(word) >= NAME} if len(told) <= SHORT else set()
    return copied | {word for word in asked if any(letter.isdecimal() for letter in word)}


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _with(example: Example, question: str, number: int) -> Example:
    before, last, answer = example.messages[:-2], example.messages[-2], example.messages[-1]
    return msgspec.structs.replace(
        example,
        messages=(*before, msgspec.structs.replace(last, content=question), answer),
        id=f"{example.id}-{number}",
        meta=example.meta | {"paraphrase_of": example.id},
    )
