"""More to train on: the last question of each training example in other words, by any OpenAI-compatible server."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence

import httpx
import msgspec

from server.errors import CupolaError

from ..chat_client import Answer, Failed, Patience, ask
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
RETRIES = 3
FIRST_WAIT = 0.5  # seconds before the first of them, at most; they double
SILENCE = 20  # requests of one batch that all fail, after which the server is given up


class Teacher:
    """Asks for paraphrases and counts what did not become one."""

    def __init__(self, order: Paraphrase, seed: int) -> None:
        self.asked = 0
        self.failed: Counter[str] = Counter()
        self.given_up = False
        self._order = order
        self._seed = seed
        self._answered = 0
        self._words = ""  # of the server, when it last failed

    def paraphrases(self, examples: Sequence[Example]) -> list[Example]:
        """In the order of the examples, which end in a user's message and its answer."""
        tasks = [(one, number) for one in examples if _asks(one) for number in range(1, self._order.count + 1)]
        replies = asyncio.run(self._replies(tasks))
        made: list[Example] = []
        seen: set[tuple[str, bytes]] = set()
        for (example, number), reply in zip(tasks, replies, strict=True):
            fault = str(reply) if isinstance(reply, Failed) else _fault(example, reply)
            if isinstance(reply, Failed) or fault:
                self.failed[fault] += 1
                continue
            text = reply.text.strip()
            same = (example.id, key_of(text))
            if same in seen:
                self.failed["twice the same"] += 1
                continue
            seen.add(same)
            made.append(_with(example, text, number))
        answered = sum(not isinstance(reply, Failed) for reply in replies)
        self.asked += len(tasks)
        self._answered += answered
        self.given_up = len(tasks) >= SILENCE and not answered
        return made

    def require_an_answer(self) -> None:
        """When no more is asked. Raises CupolaError where the server answered none of what was."""
        if self.asked and not self._answered:
            reasons = ", ".join(self.failed)
            raise CupolaError(f"{self._order.url} wrote no paraphrase: {reasons}. {self._words}".rstrip())

    async def _replies(self, tasks: list[tuple[Example, int]]) -> list[Answer | Failed]:
        turn = asyncio.Semaphore(self._order.concurrency)
        async with httpx.AsyncClient(timeout=None, trust_env=False) as client:  # noqa: S113  # the deadline is the request's
            return await asyncio.gather(*(self._reply(client, turn, *task) for task in tasks))

    async def _reply(
        self, client: httpx.AsyncClient, turn: asyncio.Semaphore, example: Example, number: int
    ) -> Answer | Failed:
        order = self._order
        question = example.prompt[-1].content
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question}]
        body = {"model": order.model, "messages": messages, "seed": self._seed + number}
        body |= {"temperature": order.temperature, "max_tokens": order.max_tokens}
        patience = Patience(order.deadline, RETRIES, FIRST_WAIT)
        async with turn:
            try:
                return await ask(client, order.url.rstrip("/"), body, {}, patience)
            except Failed as error:
                self._words = error.words or self._words
                return error


def _asks(example: Example) -> bool:
    return len(example.messages) > 1 and example.prompt[-1].role == "user"


def _fault(example: Example, reply: Answer) -> str:
    """Why a reply is no paraphrase; empty where it is one."""
    text, question = reply.text.strip(), example.prompt[-1].content
    if not text:
        return "empty"
    if reply.cut or len(text) > LONGEST * max(len(question), 20):
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
