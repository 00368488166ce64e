"""Arguments of a call as an object, for the APIs that have no text of them. Pure."""

from typing import Any

import msgspec

UNREAD = "_unparsed"


def as_object(arguments: str) -> dict[str, Any]:
    """The object that the JSON text is. Nothing at all is an empty one. What is no object, since the model wrote
    something else or was cut off, is `{"_unparsed": text}`: no tool takes that for its arguments, and nothing is lost.
    """
    if not arguments.strip():
        return {}
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return {UNREAD: arguments}
    return found if isinstance(found, dict) else {UNREAD: arguments}
