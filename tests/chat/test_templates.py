"""Templates of real models render exactly as plain Jinja renders them."""

import asyncio
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from server.chat.messages import Answer, Render, Rendered, RenderFailed
from server.chat.render import make_renderer

from .rendering import CALLING, HELLO, PLAIN, TEMPLATES, TOOLS, reference, running_renderer

CONVERSATIONS = {"hello": HELLO, "plain": PLAIN, "continued": [*PLAIN, {"role": "assistant", "content": "Sure, "}]}


def render(template: str, messages: list[dict[str, Any]] = HELLO, **fields: Any) -> Answer:
    return make_renderer()(Render(1, template, messages, **fields))


def assert_equal(template: str, messages: list[dict[str, Any]], **fields: Any) -> None:
    """Ours equals the reference. The date may change meanwhile: the reference is taken before and after."""
    variables = {"tools": None, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True} | fields
    before = reference(template, messages=messages, **variables)
    answer = render(template, messages, **variables)
    after = reference(template, messages=messages, **variables)
    assert isinstance(answer, Rendered), answer
    assert answer.text in {before, after}
    assert answer.text.strip()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("prompt", [True, False])
def test_a_conversation(path: Path, conversation: str, prompt: bool) -> None:
    messages = CONVERSATIONS[conversation]
    if path.stem.startswith("Mistral") and conversation == "continued":
        messages = messages[:-1]  # it wants the user to speak last
    assert_equal(path.read_text(), messages, add_generation_prompt=prompt)


@pytest.mark.parametrize(
    "path", [path for path in TEMPLATES if path.stem.startswith(("Qwen", "Mistral", "SmolLM3"))], ids=lambda p: p.stem
)
def test_tools_are_declared_called_and_answered(path: Path) -> None:
    assert_equal(path.read_text(), CALLING, tools=TOOLS)


def test_variables_reach_the_template() -> None:
    qwen3 = next(path for path in TEMPLATES if path.stem.startswith("Qwen3"))
    template = qwen3.read_text()
    for enabled in (True, False):
        expected = reference(template, messages=HELLO, tools=None, add_generation_prompt=True, enable_thinking=enabled)
        answer = render(template, variables={"enable_thinking": enabled})
        assert answer == Rendered(1, expected)
        assert ("<think>\n\n</think>" in expected) is not enabled


def test_the_default_model_word_for_word() -> None:
    smollm2 = next(path for path in TEMPLATES if path.stem.startswith("SmolLM2"))
    assert render(smollm2.read_text()) == Rendered(
        1,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    )


def test_a_refusal_is_told_to_the_client() -> None:
    template = (
        "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}{% endfor %}"
    )
    twice = [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]
    with pytest.raises(jinja2.TemplateError, match="must alternate"):
        reference(template, messages=twice, add_generation_prompt=True)
    assert render(template, twice) == RenderFailed(
        1, "The chat template refused the conversation: Conversation roles must alternate user/assistant"
    )


def test_the_date_reaches_the_template() -> None:
    answer = render("{% set today = strftime_now('%d %b %Y') %}Today Date: {{ today }}")
    assert isinstance(answer, Rendered)
    assert re.fullmatch(r"Today Date: \d\d [A-Z][a-z]{2} 20\d\d", answer.text)


def test_every_template_through_the_pipe() -> None:
    async def main() -> list[str]:
        async with running_renderer() as renderer:
            return [await renderer.render(path.read_text(), PLAIN, bos_token="<s>") for path in TEMPLATES]

    rendered = asyncio.run(main())
    assert rendered == [
        answer.text
        for path in TEMPLATES
        if isinstance(answer := render(path.read_text(), PLAIN, bos_token="<s>"), Rendered)
    ]
