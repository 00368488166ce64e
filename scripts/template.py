"""A chat template is a stranger's program. Before it is used here, it is tried in a process that can be killed."""

import asyncio

from server.chat.renderer import Renderer
from server.errors import InvalidValue, TemplateFailed, TemplateTooSlow
from server.settings import Settings

CONVERSATION = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello. What is it?"}]


def check_template(template: str, settings: Settings) -> None:
    """Raises InvalidValue for a template that a short conversation keeps busy beyond `settings.template_seconds`.

    One that refuses this conversation may take others, and those are encoded elsewhere.
    """
    try:
        asyncio.run(_render(template, settings))
    except TemplateTooSlow as error:
        raise InvalidValue(f"{error.message} Two short messages were all that it had to write.") from None
    except TemplateFailed:
        return


async def _render(template: str, settings: Settings) -> None:
    renderer = Renderer(settings)
    try:
        await renderer.render(template, CONVERSATION)
    finally:
        await renderer.close()
