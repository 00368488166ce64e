"""Foundry Local's folders: PromptTemplates from chat templates and back, with the templates of real models."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.chat.messages import Render, Rendered
from server.chat.render import make_renderer
from server.errors import InvalidValue, TemplateFailed
from server.models import foundry
from server.models.adopt import ADVICE, describe
from server.models.foundry import PromptTemplate
from server.models.spec import ModelSpec, Sampling, Variant
from server.models.tokenizer import _chat_template

TEMPLATES = Path(__file__).parent.parent / "chat" / "templates"
LEARN = {  # the example of Microsoft's page on compiling models
    "assistant": "{Content}",
    "prompt": "<|user|>\n{Content}<|eot|><|assistant|>\n\n",
}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "it's \\n 'quoted' {{ 1 }} \u00e9\u4e2d"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Why?"},
]


def write(template: str, messages: list[dict[str, Any]], *, prompt: bool = True) -> str:
    answer = make_renderer()(Render(1, template, messages, "", "</s>", None, prompt, {}))
    if not isinstance(answer, Rendered):
        raise TemplateFailed(answer.message)
    return answer.text


def derived(template: str) -> PromptTemplate:
    async def render(messages: list[dict[str, Any]], prompt: bool) -> str:
        return write(template, messages, prompt=prompt)

    coroutine = foundry.derived(render, "</s>")
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    found: PromptTemplate = ended.value.value
    return found


@pytest.mark.parametrize(
    "name", ["Phi-3.5-mini-instruct", "Qwen2.5-7B-Instruct", "Qwen3-0.6B", "SmolLM2-135M-Instruct"]
)
def test_a_conversation_reads_the_same_by_either_template(name: str) -> None:
    original = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    found = derived(original)
    assert found.system is not None
    assert write(foundry.as_jinja(found), TALK) == write(original, TALK)


def test_what_a_prompt_template_cannot_say_is_refused() -> None:
    with pytest.raises(InvalidValue, match="so no PromptTemplate says the same"):
        derived("{% for m in messages %}[{{ loop.index }}] {{ m.content }}{% endfor %}")
    with pytest.raises(InvalidValue, match="leaves messages out"):
        derived("{{ messages[-1].content }}")
    with pytest.raises(TemplateFailed, match="nothing for you"):
        derived("{{ raise_exception('nothing for you') }}")


def test_a_template_without_a_system_role() -> None:
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    text += "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    text += "{% if add_generation_prompt %}<assistant>{% endif %}"
    found = derived(text)
    assert found == PromptTemplate(
        prompt="<user>{Content}</><assistant>", user="<user>{Content}</>", assistant="<assistant>{Content}</>"
    )
    assert write(foundry.as_jinja(found), TALK[:1] + TALK[3:]) == "<user>Be brief.\n\nWhy?</><assistant>"


def test_the_example_of_the_documentation() -> None:
    text = foundry.as_jinja(PromptTemplate.model_validate(LEARN))
    assert write(text, [{"role": "user", "content": "Hi"}]) == "<|user|>\nHi<|eot|><|assistant|>\n\n"
    with pytest.raises(TemplateFailed, match="no text for the role tool"):
        write(text, [{"role": "tool", "content": "1"}])


def folder(path: Path, about: dict[str, Any] | None) -> Path:
    path.mkdir(parents=True)
    (path / "genai_config.json").write_text('{"model": {"context_length": 512, "type": "llama"}}')
    if about is not None:
        (path / "inference_model.json").write_text(json.dumps(about))
    return path


def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    about = {"Name": "My-Llama:3", "Description": "Of mine.", "Version": 3, "PromptTemplate": LEARN, "Unheard": [1]}
    made = folder(tmp_path / "cache" / "Me" / "my" / "v3", about | {"ModelConfig": {"temperature": 0, "max_length": 9}})
    model = describe(str(tmp_path / "cache"), None, None, None, "MIT")
    assert (model.name, model.description, model.context_length) == ("my-llama", "Of mine.", 512)
    assert model.sampling == ADVICE.model_copy(update={"temperature": 0})
    assert describe(str(made), "other", None, None, "MIT").name == "other"
    assert _chat_template(made) == foundry.as_jinja(PromptTemplate.model_validate(LEARN))
    (made / "chat_template.jinja").write_text("its own")
    assert _chat_template(made) == "its own"


@pytest.mark.parametrize(
    ("about", "complaint"),
    [
        ({}, "Name"),
        ({"Name": "a", "PromptTemplate": {"prompt": "no place"}}, "once in each text"),
        ({"Name": "a", "PromptTemplate": {"user": "{Content}"}}, "PromptTemplate.prompt"),
        ({"Name": "a", "ModelConfig": {"temperature": 9}}, r"ModelConfig\.temperature"),
    ],
)
def test_what_is_wrong_is_named(about: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        describe(str(folder(tmp_path / "model", about)), None, None, None, "MIT")


def test_folders_that_are_not_one_model(tmp_path: Path) -> None:
    first = folder(tmp_path / "both" / "a", None)
    (first / "download.tmp").touch()
    with pytest.raises(InvalidValue, match="has not ended"):
        describe(str(tmp_path / "both"), None, None, None, "MIT")
    folder(tmp_path / "both" / "b", None)
    with pytest.raises(InvalidValue, match="has several models, a, b"):
        describe(str(tmp_path / "both"), None, None, None, "MIT")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    variant = Variant.model_validate({"name": "v", "format": "onnx", "source": {"type": "file", "path": "/x"}})
    sampling = Sampling(temperature=0.3, top_k=20)
    model = ModelSpec(
        name="mine",
        licence="MIT",
        description="D\u00e9j\u00e0.",
        context_length=9,
        sampling=sampling,
        variants=(variant,),
    )
    template = PromptTemplate(prompt="u{Content}a", user="u{Content}", assistant="a{Content}")
    (tmp_path / foundry.FILE).write_text(foundry.written(model, template), encoding="utf-8")
    found = foundry.read(tmp_path)
    assert found is not None
    assert (found.name, found.alias, found.version, found.template) == ("mine:1", "mine", "1", template)
    assert found.sampling(Sampling()) == sampling
