"""Answers of a served model: any OpenAI-compatible address."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any, Self

import httpx

from server.errors import CupolaError

from ..examples import Example
from .answers import Answer, Asked, prompt_hash
from .order import Order
from .receiving import MALFORMED, Stream, received

ATTEMPTS = 6
LONGEST_WAIT = 60.0  # seconds between two attempts
BUSY = {408, 429, 502, 503, 504}
PLAIN = {"temperature": 0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
OURS = {"repetition_penalty": 1, "top_k": 0, "min_p": 0}  # a model's advised sampling is not for a measurement


class Refused(CupolaError):
    """The server does not answer such a request, however often it is asked."""


class Served:
    """A model at `target` (URL#MODEL), asked greedily and with nothing that the example does not say."""

    def __init__(self, target: str, order: Order) -> None:
        url, _, self._model = target.partition("#")
        self._url = url.rstrip("/")
        self._order = order
        self._client = httpx.Client(timeout=order.deadline, trust_env=False, headers=order.headers())
        self._ours = False
        self.not_measured: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Load the model, so that no example waits for it. Raises CupolaError."""
        try:
            self._begin()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _begin(self) -> None:
        try:
            with self._client.stream("GET", f"{self._url}/models") as response:
                models = received(response, self._order.deadline)
            listed = models.json()["data"] if models.is_success else []
            self._ours = any(model.get("owned_by") == "cupola" for model in listed)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CupolaError(f"Nothing answers at {self._url}: {str(error) or type(error).__name__}.") from None
        except (httpx.DecodingError, *MALFORMED):
            self._ours = False  # a server need not list its models
        hello = self._body([{"role": "user", "content": "Hello"}]) | {"max_tokens": 1}
        self._post(f"{self._url}/chat/completions", hello)

    def __call__(self, asked: list[Asked]) -> Iterator[Answer]:
        """Timed ones first and one by one, before a cache of the server has seen them. Raises CupolaError."""
        for one in asked:
            if one.timed:
                yield self._timed(one)
        rest = [one for one in asked if not one.timed]
        with ThreadPoolExecutor(self._order.concurrency) as pool:
            try:
                yield from pool.map(self._untimed, rest)
            finally:
                pool.shutdown(cancel_futures=True)

    def _untimed(self, asked: Asked) -> Answer:
        response = self._post(f"{self._url}/chat/completions", self._body(_turns(asked.example)))
        try:
            read = response.json()
            choice = read["choices"][0]
            text, finish = str(choice["message"]["content"] or ""), choice.get("finish_reason")
        except MALFORMED:
            raise CupolaError(f"{self._url} answered with something that is no chat completion.") from None
        return self._answer(asked, text, finish)

    def _timed(self, asked: Asked) -> Answer:
        body = self._body(_turns(asked.example)) | {"stream": True, "stream_options": {"include_usage": True}}
        for attempt in range(ATTEMPTS):
            stream = Stream()
            try:
                with self._client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                    if not response.is_success:
                        self._refused(received(response, self._order.deadline), attempt)
                        continue
                    stream.read(response, self._order.deadline)
            except httpx.RequestError as error:
                self._wait(attempt, str(error) or type(error).__name__)
                continue
            except MALFORMED:
                raise CupolaError(f"{self._url} streamed something that is no chat completion.") from None
            timing = {"tokens": stream.tokens, "seconds": stream.seconds, "first_seconds": stream.first}
            return self._answer(asked, stream.text, stream.finish, **timing)
        raise AssertionError("the last attempt raises")

    def _answer(self, asked: Asked, text: str, finish: str | None, **timing: Any) -> Answer:
        """With the loss of the answer wanted, which is asked for here."""
        loss, count = self._loss(asked)
        key = asked.key, asked.example.id, prompt_hash(asked.example)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # JSON may hold halves of characters
        return Answer(*key, text, cut=finish == "length", loss=loss, loss_tokens=count, **timing)

    def _loss(self, asked: Asked) -> tuple[float | None, int]:
        """Of the answer wanted, in nats and tokens, where the server shows prompts and scores them.

        Raises CupolaError where it could and is busy: an answer that is kept without a loss is never scored.
        """
        if not asked.scored or "perplexity" in self.not_measured:
            return None, 0
        root = self._url.removesuffix("/v1")
        try:
            written = self._post(f"{root}/apply-template", {"model": self._model, "messages": _turns(asked.example)})
            prompt = written.json()["prompt"]
            body = {"model": self._model, "prompt": prompt + asked.example.answer, "echo": True, "logprobs": 0}
            scored = self._post(f"{self._url}/completions", body | {"max_tokens": 0, "temperature": 0})
            found = scored.json()["choices"][0]["logprobs"]
            places = zip(found["text_offset"], found["token_logprobs"], strict=True)
            losses = [-score for place, score in places if place >= len(prompt) and score is not None]
        except (Refused, *MALFORMED):
            losses = []
        if not losses or not isfinite(sum(losses)):
            self.not_measured["perplexity"] = "the server does not score a prompt that it wrote"
            return None, 0
        return float(sum(losses)), len(losses)

    def _body(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        order = self._order
        body: dict[str, Any] = {"model": self._model, "messages": messages, "max_tokens": order.max_tokens} | PLAIN
        if self._ours:
            body |= OURS
        if order.json_mode:
            schema = order.schema_document()
            named = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            body["response_format"] = {"type": "json_object"} if schema is None else named
        return body

    def _post(self, url: str, body: dict[str, Any]) -> httpx.Response:
        """Tried again where that may help. Raises CupolaError."""
        for attempt in range(ATTEMPTS):
            try:
                with self._client.stream("POST", url, json=body) as answering:
                    response = received(answering, self._order.deadline)
            except httpx.RequestError as error:
                self._wait(attempt, str(error) or type(error).__name__)
                continue
            if not response.is_success:
                self._refused(response, attempt)
                continue
            return response
        raise AssertionError("the last attempt raises")

    def _refused(self, response: httpx.Response, attempt: int) -> None:
        """Wait where it is worth while, at least as long as Retry-After says. Raises Refused where it is not."""
        if response.status_code not in BUSY:
            said = " ".join(response.content.decode("utf-8", "replace").split())[:200]
            raise Refused(f"{self._url} refused a request with status {response.status_code}: {said}")
        after = response.headers.get("retry-after", "")
        self._wait(attempt, f"status {response.status_code}", float(after) if after.isdecimal() else 0.0)

    def _wait(self, attempt: int, complaint: str, least: float = 0.0) -> None:
        if attempt + 1 == ATTEMPTS:
            raise CupolaError(f"{self._url} did not answer in {ATTEMPTS} attempts: {complaint}.")
        if least > LONGEST_WAIT:
            raise CupolaError(
                f"{self._url} asks to wait {least:.0f} seconds; come back then, what is kept is not lost."
            )
        time.sleep(max(least, 0.25 * 2**attempt * random.uniform(0.5, 1.0)))  # noqa: S311


def _turns(example: Example) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in example.prompt]
