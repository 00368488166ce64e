"""What the OpenAPI document says of streams. `itemSchema` is OpenAPI 3.2's name for one event or line of them."""

from typing import Any

SCHEMAS = "#/components/schemas/"


def _stream(description: str, media_type: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"itemSchema": item}}}


def event_stream(description: str, *data: str, named: bool = True) -> dict[str, Any]:
    """Server-sent events, whose data is JSON of one of these components, or any object. Named ones have `event` too;
    the others end with one that is no JSON."""
    content = {"anyOf": [{"$ref": SCHEMAS + name} for name in data]} if data else {"type": "object"}
    written = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    fields = {"data": written if named else {"anyOf": [{"const": "[DONE]"}, written]}}
    names = {"event": {"type": "string"}} if named else {}
    item = {"type": "object", "properties": names | fields, "required": [*names, *fields]}
    return _stream(description, "text/event-stream", item)


def openai_stream(chunk: str) -> dict[str, Any]:
    """The answer of a generating endpoint of OpenAI's: whole, or as events that have `chunk` as data."""
    description = "The whole answer; with `stream: true` server-sent events that end with `[DONE]`."
    return event_stream(description, chunk, "ErrorBody", named=False)


def lines(description: str, *required: str) -> dict[str, Any]:
    """Lines of JSON with these fields; one with `error` may be the last."""
    found = {"type": "object", "required": list(required)}
    return _stream(description, "application/x-ndjson", {"anyOf": [found, {"$ref": SCHEMAS + "OllamaErrorBody"}]})
