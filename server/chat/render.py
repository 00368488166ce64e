"""The render process: `python -P -m server.chat.render SECONDS`. No engine, no secret, little memory.

It renders one template after the other and answers whatever a template does wrong with a sentence. It does not watch
the clock: the server kills it when a template takes too long. SECONDS is how long one render may outlive that server.
"""

import signal
import sys
from collections.abc import Callable
from functools import lru_cache

from jinja2.exceptions import SecurityError, TemplateError

from ..child.channel import ChildChannel
from ..child.platform import limit_address_space
from .bounds import LONGEST_TEXT
from .messages import Answer, Hello, Render, Rendered, RenderFailed
from .sandbox import describe, make_environment

MEMORY_MEGABYTES = 256
LONGEST_TEMPLATE = 1 << 20
KEPT_TEMPLATES = 16

# Everything that Jinja's compiler, Python's operators and the methods of built-in values raise. A template is a
# stranger's program, so each of these is an answer, not a defect of ours. AssertionError and NameError come from
# Jinja's parser and the code it makes; RuntimeError includes RecursionError; SyntaxError: Python's limits on that code.
FAILURES = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
)


def make_renderer() -> Callable[[Render], Answer]:
    """A function from an order to its answer; it keeps the templates that it compiled last."""
    compiled = lru_cache(KEPT_TEMPLATES)(make_environment().from_string)

    def render(order: Render) -> str:
        if len(order.template) > LONGEST_TEMPLATE:
            raise SecurityError(f"it has {len(order.template)} characters")
        parts: list[str] = []
        room = LONGEST_TEXT
        for part in compiled(order.template).generate(template_variables(order)):
            room -= len(part)
            if room < 0:
                raise SecurityError(f"it writes more than {LONGEST_TEXT} characters")
            parts.append(part)
        text = "".join(parts)
        text.encode()  # half of a surrogate pair is a failure here, not of the pipe
        return text

    def answer(order: Render) -> Answer:
        try:
            return Rendered(order.id, render(order))
        except FAILURES as error:
            return RenderFailed(order.id, describe(error))

    return answer


def template_variables(order: Render) -> dict[str, object]:
    """What a template finds in scope, by the names that Hugging Face gave them."""
    known: dict[str, object] = {
        "messages": order.messages,
        "tools": order.tools,
        "documents": None,
        "add_generation_prompt": order.add_generation_prompt,
        "bos_token": order.bos_token,
        "eos_token": order.eos_token,
    }
    if taken := sorted(known.keys() & order.variables.keys()):
        raise ValueError(f"{', '.join(taken)} cannot be given as a variable")
    return {**known, **order.variables}


def end_after(seconds: float) -> None:
    """Let the system end this process after a time (0: never), also inside one long operation of a template.

    For a render whose server was killed: nobody else would stop it. An idle process reads the end of its pipe instead.
    Windows has no such timer; what runs away there without a server runs until its template ends.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)  # the default action of SIGALRM ends the process


def main() -> None:
    seconds = float(sys.argv[1])
    channel: ChildChannel[Render] = ChildChannel.from_standard_streams(Render)
    answer = make_renderer()
    limit_address_space(MEMORY_MEGABYTES)
    channel.send(Hello())
    for order in channel.messages():
        end_after(seconds)
        channel.send(answer(order))
        end_after(0)


if __name__ == "__main__":
    main()
