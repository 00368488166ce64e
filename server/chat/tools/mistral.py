"""Mistral: a list behind a token, or since 2025 a name and its arguments behind each token.

    [TOOL_CALLS][{"name": "temperature", "arguments": {"city": "Bern"}}]
    [TOOL_CALLS]temperature[ARGS]{"city": "Bern"}

Its templates refuse ids that are not nine letters and digits, also those that a client brings from elsewhere.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Sequence
from typing import Any

from .base import Messages, Tool
from .grammar import Shape
from .reader import Layout, Opening
from .written import WrittenFormat

_ALPHABET = string.ascii_letters + string.digits
_ID = re.compile(r"[a-zA-Z0-9]{9}")


class MistralFormat(WrittenFormat, frozen=True):
    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        return super().conversation([_with_short_ids(message) for message in messages], tools, template)

    def new_id(self) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(9))


def _with_short_ids(message: dict[str, Any]) -> dict[str, Any]:
    message = dict(message)
    if message.get("tool_calls"):
        message["tool_calls"] = [call | {"id": short_id(str(call.get("id", "")))} for call in message["tool_calls"]]
    if message["role"] == "tool":
        message["tool_call_id"] = short_id(str(message.get("tool_call_id", "")))
    return message


def short_id(call_id: str) -> str:
    """The id as Mistral's templates want it: the same one for the same one."""
    if _ID.fullmatch(call_id):
        return call_id
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in hashlib.sha256(call_id.encode()).digest()[:9])


_LISTED = Shape(
    marker="[TOOL_CALLS]",
    opening="[",
    begin='{"name": "',
    middle='", "arguments": ',
    close="}",
    between=", ",
    closing="]",
    listed=True,
)
_NAMED = Shape(marker="[TOOL_CALLS]", middle="[ARGS]", quoted=False)
_SEPARATORS = ("[ARGS]", "")  # without one where the tokenizer hides it
_LAYOUT = Layout(
    openings=(Opening("[TOOL_CALLS]", separators=_SEPARATORS),), bare=Opening("", separators=_SEPARATORS, sure=False)
)

NAMED = MistralFormat("mistral-named", _LAYOUT, _NAMED, marks=("[ARGS]",), shown=("[TOOL_CALLS]", "[ARGS]"))
FORMAT = MistralFormat("mistral", _LAYOUT, _LISTED, marks=("[TOOL_CALLS]",), shown=("[TOOL_CALLS]",))
