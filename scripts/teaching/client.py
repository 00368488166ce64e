"""One question to one teacher."""

from typing import Any

import httpx
import msgspec

from server.errors import CupolaError

from .. import chat_client
from ..chat_client import Answer, Failed, Patience, Refused
from .order import Order, Teacher
from .prompts import digest

TOO_LONG = 413


class Question(msgspec.Struct, frozen=True):
    """A request to one teacher; `key` is the same for the same request in every run."""

    teacher: Teacher
    messages: tuple[dict[str, str], ...]
    seed: int
    temperature: float
    max_tokens: int
    schema: dict[str, Any] | None = None
    name: str = "answer"

    @property
    def key(self) -> str:
        told = (self.messages, self.schema, self.temperature, self.max_tokens, self.seed)
        return digest(self.teacher.at, *told)

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        body: dict[str, Any] = {"model": self.teacher.model, "messages": self.messages, "seed": self.seed}
        body |= {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.schema is not None:
            form = {"name": self.name, "schema": self.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body


async def ask(client: httpx.AsyncClient, url: str, question: Question, order: Order, headers: dict[str, str]) -> Answer:
    """Raises Failed, and CupolaError with the server's words when it refuses requests like this one for good."""
    patience = Patience(order.deadline, order.retries, order.first_wait)
    try:
        return await chat_client.ask(client, url, question.body, headers, patience)
    except Refused as error:
        raise _refused(question.teacher, error) from None


def _refused(teacher: Teacher, error: Refused) -> Exception:
    """One prompt that is too long is that prompt's fate; any other refusal is everyone's."""
    if error.status == TOO_LONG or error.code == "context_length_exceeded":
        return Failed("longer than the teacher's context", lasting=True)
    words = error.words or "it gives no reason"
    return CupolaError(f"The teacher {teacher.at} refused a request (status {error.status}): {words}")
