"""The render process: `python -P -m server.chat.render`. It holds no engine, no secret and little memory.

The server kills it when a template takes too long; everything else a template can do wrong becomes a sentence.
"""

from collections.abc import Callable
from functools import lru_cache

from jinja2.exceptions import TemplateError

from ..child.channel import ChildChannel
from ..child.platform import limit_address_space
from .messages import Hello, Render, Rendered, RenderFailed
from .sandbox import describe, make_environment

MEMORY_MEGABYTES = 384
MAX_TEXT = 8 << 20
KEPT_TEMPLATES = 16

# What a template's expressions can raise: they are Python's operators on the values of a conversation.
FAILURES = (
    TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip

RenderText = Callable[[Render], str]


def make_renderer() -> RenderText:
    """A function from a render order to its text; it keeps the templates it compiled last."""
    compiled = lru_cache(KEPT_TEMPLATES)(make_environment().from_string)

    def render(order: Render) -> str:
        stream = compiled(order.template).generate(
            messages=order.messages,
            tools=order.tools,
            add_generation_prompt=order.add_generation_prompt,
            bos_token=order.bos_token,
            eos_token=order.eos_token,
            **order.variables,
        )
        parts: list[str] = []
        length = 0
        for part in stream:
            length += len(part)
            if length > MAX_TEXT:
                raise MemoryError
            parts.append(part)
        return "".join(parts)

    return render


def main() -> None:
    channel: ChildChannel[Render] = ChildChannel.from_standard_streams(Render)
    render = make_renderer()
    limit_address_space(MEMORY_MEGABYTES)
    channel.send(Hello())
    for order in channel.messages():
        try:
            answer: Rendered | RenderFailed = Rendered(order.id, render(order))
        except FAILURES as error:
            answer = RenderFailed(order.id, describe(error))
        channel.send(answer)


if __name__ == "__main__":
    main()
