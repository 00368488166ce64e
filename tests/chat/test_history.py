"""Conversations with calls and results, as the templates of real models read them."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.chat.history import for_template
from server.chat.messages import Render, Rendered
from server.chat.render import make_renderer
from server.chat.tools import format_for, generic, hermes, llama3, mistral, phi4
from server.chat.tools.base import Tool
from server.models import gguf
from server.models.registry import Registry
from server.models.store import Store

from .rendering import TEMPLATES

WEATHER = Tool("get_weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})


def call(call_id: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


CHAT: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "How warm is it"}, {"type": "text", "text": "in Bern?"}]},
    {"role": "assistant", "content": None, "tool_calls": [call("call_1", '{"city": "Bern", "é": ["<"]}')]},
    {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": '{"degrees": 21}'}]},
]
TWO: list[dict[str, Any]] = [
    {"role": "user", "content": "Bern and Basel?"},
    {"role": "assistant", "content": "Both.", "tool_calls": [call("a", '{"city": "Bern"}'), call("b", "oops")]},
    {"role": "tool", "tool_call_id": "b", "content": "Basel: 22"},
    {"role": "tool", "tool_call_id": "a", "content": "Bern: 21"},
]


def prompt(template: str, messages: list[dict[str, Any]], **fields: Any) -> str:
    """The conversation as the server would write it for this template."""
    told, tools = format_for(template).conversation(for_template(messages), [WEATHER], template)
    answer = make_renderer()(Render(1, template, told, tools=tools, bos_token="<s>", eos_token="</s>", **fields))
    assert isinstance(answer, Rendered), answer
    return answer.text


def template_of(name: str) -> str:
    return next(path for path in TEMPLATES if path.stem.startswith(name)).read_text()


def test_messages_as_templates_read_them() -> None:
    assert for_template(CHAT) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How warm is it\nin Bern?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": {"city": "Bern", "é": ["<"]}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": '{"degrees": 21}'},
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", {}),
        (" ", {}),
        (None, {}),
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ('{"a": 1', '{"a": 1'),
        ("[1]", "[1]"),
        ("[" * 100_000, "[" * 100_000),
        ('{"a": ' + "1" * 5000 + "}", '{"a": ' + "1" * 5000 + "}"),
    ],
    ids=range(9),
)
def test_arguments(written: Any, read: Any) -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": written}}]}
    assert for_template([message])[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": read}


def test_nothing_of_the_client_is_changed() -> None:
    before = json.dumps([CHAT, TWO])
    for path in TEMPLATES:
        template = path.read_text()
        format_for(template).conversation(for_template(CHAT), [WEATHER], template)
        format_for(template).conversation(for_template(TWO), [WEATHER], template)
    assert json.dumps([CHAT, TWO]) == before
    assert "tool_calls" not in for_template([{"role": "assistant", "content": "Hi", "tool_calls": []}])[0]
    assert "name" not in for_template([{"role": "user", "content": "Hi", "name": None}])[0]


def test_a_round_trip_with_qwen() -> None:
    text = prompt(template_of("Qwen2.5"), CHAT)
    assert json.dumps(WEATHER.for_template()) in text
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern", "é": ["<"]}}\n</tool_call>' in text
    assert '<tool_response>\n{"degrees": 21}\n</tool_response>' in text
    assert text.endswith("<|im_start|>assistant\n")


@pytest.mark.real
def test_a_round_trip_with_the_template_in_a_model_file(real_home: Path) -> None:
    store, registry = Store(real_home), Registry.load()
    model, variants = registry.resolve("qwen2.5-coder-0.5b-instruct")
    manifest = store.manifest(model, variants[0])
    if manifest is None:
        pytest.skip("that model is not pulled")
    template = gguf.read(store.path(manifest)).metadata["tokenizer.chat_template"]
    assert format_for(template) is hermes.FORMAT
    text = prompt(template, CHAT)
    assert '{"name": "get_weather", "arguments": {"city": "Bern", "é": ["<"]}}' in text
    assert '<tool_response>\n{"degrees": 21}\n</tool_response>' in text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.parametrize("messages", [CHAT, TWO], ids=["one", "two"])
def test_every_template_tells_of_tools_calls_and_results(path: Path, messages: list[dict[str, Any]]) -> None:
    text = prompt(path.read_text(), messages)
    assert "The weather" in text
    assert "Bern" in text
    assert "21" in text
    if messages is TWO:
        assert "Both." in text or path.stem.startswith("Mistral")  # whose template tells calls or text, not both
        assert "oops" in text


def test_mistral_gets_ids_that_it_takes() -> None:
    text = prompt(template_of("Mistral"), CHAT)
    known = mistral.short_id("call_1")
    assert text.count(known) == 2
    assert len(known) == 9
    assert mistral.short_id("abcdefghi") == "abcdefghi"
    assert mistral.short_id("call_2") != known


def test_a_template_without_tools_gets_a_description() -> None:
    messages = generic.described([{"role": "user", "content": "Hi"}], [WEATHER])
    assert [message["role"] for message in messages] == ["system", "user"]
    assert generic.described(messages, []) is messages
    again = generic.described([{"role": "system", "content": "Be brief."}], [WEATHER])
    assert again[0]["content"].startswith("Be brief.\n\n# Tools")
    told = generic.told(for_template(TWO))
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert told[1]["content"].startswith('Both.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}')
    assert told[2]["content"].count("<tool_response>") == 2


PHI4 = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not"
    " none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' +"
    " '<|end|>' }}{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def test_phi4_gets_tools_in_the_system_message() -> None:
    assert format_for(PHI4) is phi4.FORMAT
    text = prompt(PHI4, CHAT)
    function = json.dumps([WEATHER.for_template()["function"]])
    assert text.startswith(f"<|system|>Be brief.<|tool|>{function}<|/tool|><|end|>")
    assert '<|assistant|><|tool_call|>[{"name": "get_weather", "arguments": {"city": "Bern"' in text
    assert text.endswith('<|tool|>{"degrees": 21}<|end|><|assistant|>')
    assert prompt(PHI4, TWO).startswith("<|system|><|tool|>[{")


def test_llama3_gets_one_call_at_a_time() -> None:
    told = llama3.one_call_each(for_template([*TWO, {"role": "user", "content": "Thanks"}]))
    assert [(message["role"], [each["id"] for each in message.get("tool_calls", [])]) for message in told] == [
        ("user", []),
        ("assistant", ["b"]),
        ("tool", []),
        ("assistant", ["a"]),
        ("tool", []),
        ("user", []),
    ]
    assert llama3.one_call_each(for_template(CHAT)) == for_template(CHAT)
    assert len(llama3.one_call_each(for_template(TWO[:2]))) == 3
    template = "{% if tools %}<|python_tag|>{% endif %}{{ raise_exception('only supports single tool-calls at once') }}"
    messages, tools = llama3.FORMAT.conversation(for_template(TWO), [WEATHER], template)
    assert len(messages) == 5
    assert tools == [WEATHER.for_template()]
