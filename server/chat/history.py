"""A conversation as chat templates read it, from messages as OpenAI's API writes them. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def for_template(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages as Hugging Face's templates expect them.

    Content is text and never None; the role `developer` is `system`, as templates were written before OpenAI renamed
    it. Arguments of calls are objects, since templates write them with `tojson`. The result of a tool has its name,
    which some templates want and most clients leave out.
    """
    names: dict[str, str] = {}
    told: list[dict[str, Any]] = []
    for message in messages:
        turn = {key: value for key, value in message.items() if value is not None}
        turn["role"] = "system" if message["role"] == "developer" else message["role"]
        turn["content"] = text_of(message.get("content"))
        # An absent key, not an empty list: Mistral's templates ask whether it is there.
        calls = [_call(call) for call in turn.pop("tool_calls", None) or ()]
        if calls:
            turn["tool_calls"] = calls
            names |= {call["id"]: call["function"]["name"] for call in calls if "id" in call}
        if turn["role"] == "tool" and turn.get("tool_call_id") in names:
            turn.setdefault("name", names[turn["tool_call_id"]])
        told.append(turn)
    return told


def text_of(content: Any) -> str:
    """The text of a message. Text parts stand on lines of their own."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part if isinstance(part, str) else str(part.get("text", "")) for part in content)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        **call,
        "type": "function",
        "function": {"name": function["name"], "arguments": _arguments(function.get("arguments"))},
    }


def _arguments(written: Any) -> Any:
    """The arguments as an object; text that is none, as a model may have written it, stays text."""
    if not isinstance(written, str):
        return {} if written is None else written
    if not written.strip():
        return {}
    try:
        said = json.loads(written)
    except (ValueError, RecursionError):  # also a number of too many digits, or brackets too deep
        return written
    return said if isinstance(said, dict) else written
