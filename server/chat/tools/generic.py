"""Tools for a model whose template knows none: they are described in a system message, and calls are Hermes'.

Past calls and results are told as text, in the same tags.
"""

import json
from collections.abc import Sequence
from typing import Any

from .base import Messages, Tool
from .hermes import LAYOUT, SHAPE
from .written import WrittenFormat

# The words that Hermes and Qwen were trained on, since many models have seen them.
_DESCRIPTION = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


class GenericFormat(WrittenFormat, frozen=True):
    def matches(self, template: str) -> bool:
        return True

    def conversation(
        self, messages: Messages, tools: Sequence[Tool], template: str
    ) -> tuple[Messages, list[dict[str, Any]] | None]:
        return described(told(messages), tools), None


def described(messages: Messages, tools: Sequence[Tool]) -> Messages:
    """The messages with the tools in the system message."""
    if not tools:
        return messages
    listed = "\n".join(json.dumps(tool.for_template(), ensure_ascii=False) for tool in tools)
    text = _DESCRIPTION.format(tools=listed)
    if messages and messages[0]["role"] == "system":
        first = messages[0] | {"content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def told(messages: Messages) -> Messages:
    """Calls as text of the assistant, and results, those that follow each other in one message, as text of the user."""
    turns: Messages = []
    previous = ""
    for message in messages:
        if message["role"] == "tool":
            result = f"<tool_response>\n{message['content']}\n</tool_response>"
            if previous == "tool":
                turns[-1] = turns[-1] | {"content": f"{turns[-1]['content']}\n{result}"}
            else:
                turns.append({"role": "user", "content": result})
        elif message.get("tool_calls"):
            calls = [_written(call["function"]) for call in message["tool_calls"]]
            text = "\n".join([*([message["content"]] if message["content"] else []), *calls])
            kept = {key: value for key, value in message.items() if key != "tool_calls"}
            turns.append(kept | {"content": text})
        else:
            turns.append(message)
        previous = message["role"]
    return turns


def _written(function: dict[str, Any]) -> str:
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {text}}}\n</tool_call>'


FORMAT = GenericFormat("generic", LAYOUT, SHAPE, shown=("<tool_call>", "</tool_call>"))
