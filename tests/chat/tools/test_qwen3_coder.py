"""Calls in tags with bare arguments: every cut gives the same, types are the schema's, forced ones keep to it."""

import json
from typing import Any

import jsonschema
import llguidance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.chat.answer import join
from server.chat.events import CallArguments, CallBegun, ChatEvent, Text
from server.chat.tools import format_for
from server.chat.tools.base import Tool, ToolChoice
from server.chat.tools.qwen3_coder import FORMAT
from server.errors import InvalidValue

from ..rendering import reference
from .folding import Answer, events_of, fold
from .test_grammar import Bytes, accepts, walk

EDIT = Tool(
    "edit",
    "",
    {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "code": {"type": "string", "maxLength": 4},
            "line": {"type": "integer", "minimum": 0, "maximum": 99},
            "ratio": {"type": "number"},
            "force": {"type": "boolean"},
            "mode": {"enum": ["fast", "slow", None, 3]},
            "note": {"type": ["string", "null"]},
            "lines": {"$ref": "#/$defs/lines"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        },
        "required": ["path", "line"],
        "additionalProperties": False,
        "$defs": {"lines": {"type": "array", "items": {"type": "integer", "maximum": 9, "minimum": 0}, "maxItems": 2}},
    },
    strict=True,
)
NOW = Tool("now", "", {"type": "object", "properties": {}, "additionalProperties": False}, strict=True)
FREE = Tool("free")
TOOLS = (EDIT, NOW, FREE)
REQUIRED = ToolChoice("required", parallel=True)
TEMPLATE = """{% if tools %}<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>{% endif %}{% for message in messages %}{% for call in message.tool_calls %}
{%- set call = call.function %}<tool_call>
<function={{ call.name }}>
{% for name, value in call.arguments|items %}<parameter={{ name }}>
{{ value | tojson if value is mapping or (value is sequence and value is not string) else value | string }}
</parameter>
{% endfor %}</function>
</tool_call>
{% endfor %}{% endfor %}"""


def write(name: str, **arguments: str) -> str:
    written = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{written}</function>\n</tool_call>"


def joined(pieces: list[str] | str) -> list[ChatEvent]:
    return join(events_of(FORMAT.parser(TOOLS, lambda: "id"), pieces))


def parse(text: str) -> Answer:
    whole = joined([text])
    for at in range(len(text) + 1):
        assert joined([text[:at], text[at:]]) == whole
    assert joined(text) == whole
    return fold(whole)


def arguments(text: str) -> Any:
    answer = parse(text)
    assert answer.text == ""
    return json.loads(answer.calls[-1][1])


def test_the_template_chooses_the_format() -> None:
    assert format_for(TEMPLATE) is FORMAT
    assert format_for("{{ tools }} <tool_call>").name == "hermes"
    assert format_for("<tool_call> <function= <parameter=") is not FORMAT  # it knows no tools


def test_what_the_template_writes_is_read_back() -> None:
    said = {"path": "a\nb", "line": 3, "force": True, "note": None, "lines": [1, 2], "ratio": 0.5, "either": "x"}
    calls = [{"function": {"name": "edit", "arguments": said}}, {"function": {"name": "now", "arguments": {}}}]
    messages = [{"role": "assistant", "content": "", "tool_calls": calls}]
    told, declared = FORMAT.conversation(messages, TOOLS, TEMPLATE)
    text = reference(TEMPLATE, messages=told, tools=None)
    answer = parse(text)
    assert [(name, json.loads(written)) for name, written in answer.calls] == [("edit", said), ("now", {})]
    assert answer.text == ""
    assert declared == [tool.for_template() for tool in TOOLS]


def test_arguments_that_are_no_object_can_be_told() -> None:
    calls = [{"function": {"name": "edit", "arguments": "{broken"}}]
    told, _ = FORMAT.conversation([{"role": "assistant", "content": "", "tool_calls": calls}], TOOLS, TEMPLATE)
    assert "{broken" in reference(TEMPLATE, messages=told, tools=None)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("path", "5", "5"),
        ("path", "null", "null"),
        ("path", ' say "hi" \\n\t\n', ' say "hi" \\n\t\n'),
        ("path", "", ""),
        ("path", "\n<parameter=x></function>\n", "\n<parameter=x></function>\n"),
        ("path", "é🙂\u2028", "é🙂\u2028"),
        ("line", "5", 5),
        ("line", " 5\n", 5),
        ("line", "5.0", 5.0),
        ("line", "five", "five"),
        ("line", "5.5", "5.5"),
        ("line", "9" * 5000, "9" * 5000),
        ("ratio", "1", 1),
        ("ratio", "NaN", "NaN"),
        ("force", "True", True),
        ("force", "false", False),
        ("note", "None", None),
        ("note", "5", "5"),
        ("mode", "fast", "fast"),
        ("mode", "3", 3),
        ("lines", "[1, 2]", [1, 2]),
        ("lines", "[1,", "[1,"),
        ("lines", "[" * 5000, "[" * 5000),
        ("either", "7", 7),
        ("either", "seven", "seven"),
        ("unknown", '{"a": [1]}', {"a": [1]}),
        ("unknown", "words", "words"),
        ('odd "key"', "x", "x"),
    ],
)
def test_an_argument_is_what_its_schema_says(key: str, text: str, value: Any) -> None:
    written = write("edit", **{key: text})
    (call,) = fold(joined([written])).calls
    assert json.loads(call[1]) == {key: value}
    assert type(json.loads(call[1])[key]) is type(value)
    assert joined(written) == joined([written])


def test_text_streams_and_the_rest_comes_whole() -> None:
    parser = FORMAT.parser(TOOLS, lambda: "id")
    assert parser.push("I look.\n<tool_call>\n<function=edit") == [Text("I look.")]
    assert parser.push(">") == [CallBegun(0, "id", "edit")]
    parser.push("\n<parameter=path>\n")
    assert parser.push("some te") == [CallArguments(0, "some te")]
    assert parser.push('xt"\n') == [CallArguments(0, 'xt\\"')]
    parser.push("</parameter>\n<parameter=line>\n")
    assert parser.push("1") == []
    assert parser.push("2\n</parameter>") == [CallArguments(0, "12")]


def test_several_calls_and_text_around_them() -> None:
    answer = parse(f"So: {write('now')}\n{write('edit', path='x')} Done. </tool_call>")
    assert answer.calls == [("now", "{}"), ("edit", '{"path": "x"}')]
    assert answer.text == "So:Done. </tool_call>"


def test_tags_that_are_missing() -> None:
    assert parse("<function=now>\n</function>ok").calls == [("now", "{}")]
    assert parse("<function=now>\n</function>\n</tool_call>ok").text == "ok"
    assert arguments("<tool_call><function=edit><parameter=path>x</parameter></tool_call>") == {"path": "x"}
    odd = parse("<function=edit>\n<parameter=path>\nx\n</parameter>\nWell, <parameter=y")
    assert (odd.calls, odd.text) == ([("edit", '{"path": "x"}')], "Well, <parameter=y")


def test_what_is_no_call_is_text() -> None:
    for text in (
        "<tool_call>",
        "<tool_call>\n<function=drop>\n</function>\n</tool_call>",
        "<function=no",
        "a <tool_call> b <function= c",
        '<tool_call>\n{"name": "now"}\n</tool_call>',
        "  \n<tool_",
    ):
        answer = parse(text)
        assert (answer.text, answer.calls) == (text, [])
    key = "k" * 300
    assert parse(f"<function=free>\n<parameter={key}>x").text == f"<parameter={key}>x"


def test_a_call_that_is_cut_has_the_arguments_there_are() -> None:
    whole = write("edit", path="a b", line="12", lines="[1, 2]")
    for at in range(whole.index(">\n<parameter") + 1, whole.index("</function>")):
        answer = parse(whole[:at])
        assert [name for name, _ in answer.calls] == ["edit"]
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.calls[0][1])
        assert answer.text == ""


tags = st.sampled_from(
    "<tool_call> </tool_call> <function= edit> now> free> </function> <parameter= path> line> </parameter>".split()
)
marks = st.sampled_from('\n <"5\\é')
parts = st.one_of(tags, marks, st.text(max_size=4), st.just(write("edit", path="x", line="3")))


@settings(max_examples=300)
@given(pieces=st.lists(parts, max_size=14), data=st.data())
def test_any_cut_gives_the_same_events_and_loses_nothing(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces).replace("§", "") + "§"
    whole = joined([text])
    cut = data.draw(st.integers(0, len(text)))
    assert joined([text[:cut], text[cut:]]) == joined(text) == whole
    answer = fold(whole)
    assert (answer.text + "".join(written for _, written in answer.calls)).count("§") == 1


@pytest.fixture(scope="module")
def tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


@pytest.mark.parametrize("parallel", [True, False])
def test_required_gives_nothing_but_calls(parallel: bool, tokenizer: llguidance.LLTokenizer) -> None:
    bounded = {key: said for key, said in EDIT.parameters["properties"].items() if key not in ("note", "either")}
    bounded["path"] = {"type": "string", "maxLength": 3}  # a walk at random would not end a text without a limit
    edit = Tool("edit", "", EDIT.parameters | {"properties": bounded})
    grammar = FORMAT.grammar((edit, NOW), ToolChoice("required", parallel=parallel))
    names: set[str] = set()
    numbers: set[int] = set()
    for seed in range(25):
        answer = fold(joined([walk(tokenizer, grammar, seed)]))
        assert answer.text == ""
        for name, written in answer.calls:
            jsonschema.validate(json.loads(written), {"edit": edit, "now": NOW}[name].parameters)
            names.add(name)
        numbers.add(len(answer.calls))
    assert names == {"edit", "now"}
    assert 0 not in numbers
    assert (max(numbers) > 1) is parallel


def test_what_is_refused(tokenizer: llguidance.LLTokenizer) -> None:
    grammar = FORMAT.grammar(TOOLS, REQUIRED)
    good = write("edit", path="a\n<b>\n", code="abcd", line="5", mode="null")
    for text in (good, f"{good}\n{write('now')}", write("free", a="1", b="x")):
        assert accepts(tokenizer, grammar, text), text
    for bad in (
        "",
        "Hello",
        good[:-1],
        write("drop"),
        write("edit", path="a"),
        write("edit", path="a", line="five"),
        write("edit", path="a", code="abcde", line="5"),
        write("edit", path="a", line="5", mode="medium"),
        write("now", a="1"),
    ):
        assert not accepts(tokenizer, grammar, bad), bad
    named = FORMAT.grammar(TOOLS, ToolChoice("named", "now", parallel=False))
    assert accepts(tokenizer, named, write("now"))
    assert not accepts(tokenizer, named, good)


def test_a_pattern_holds_a_text(tokenizer: llguidance.LLTokenizer) -> None:
    for pattern, right, wrong in (("^a/b$", "a/b", "xa/b"), ("a+", "xaax", "xx")):
        tool = Tool("t", "", {"type": "object", "properties": {"p": {"type": "string", "pattern": pattern}}})
        grammar = FORMAT.grammar([tool], REQUIRED)
        assert accepts(tokenizer, grammar, write("t", p=right))
        assert not accepts(tokenizer, grammar, write("t", p=wrong))


def test_strict_tools_are_held_to_their_schema_in_text(tokenizer: llguidance.LLTokenizer) -> None:
    grammar = FORMAT.grammar_auto((EDIT, FREE), ToolChoice())
    assert grammar is not None
    assert FORMAT.grammar_auto((FREE,), ToolChoice()) is None
    for text in ("Hello", f"Hm.\n{write('edit', path='a', line='5')}\nSo.", write("free", a="x")):
        assert accepts(tokenizer, grammar, text), text
    for bad in (write("edit", path="a"), "<tool_call>", "<function=now>"):
        assert not accepts(tokenizer, grammar, bad), bad


@pytest.mark.parametrize(
    "parameters",
    [
        {"anyOf": [{"type": "object"}]},
        {"type": "object", "properties": {"a>": {}}},
        {"type": "object", "properties": {"a": {"enum": ["</parameter>"]}}},
    ],
)
def test_what_cannot_be_written_is_said(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="this model"):
        FORMAT.grammar([Tool("t", "", parameters)], REQUIRED)


@pytest.mark.parametrize("schema", [True, {"$ref": "#/nowhere"}, {"$ref": "#"}, {"type": "odd"}, {"minLength": "x"}])
def test_odd_schemas_harm_nobody(schema: Any, tokenizer: llguidance.LLTokenizer) -> None:
    tool = Tool("t", "", {"type": "object", "properties": {"a": schema}})
    assert fold(events_of(FORMAT.parser([tool]), [write("t", a="x")])).calls == [("t", '{"a": "x"}')]
    FORMAT.grammar([tool], REQUIRED)
