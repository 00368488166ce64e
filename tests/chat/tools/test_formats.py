"""Calls as models write them, well and badly."""

import re
import time

import pytest

from server.chat.events import CallArguments, CallBegun, Text
from server.chat.tools import FORMATS, deepseek, format_for, functionary, generic, hermes, llama3, mistral, phi4
from server.chat.tools.base import Tool
from server.chat.tools.written import WrittenFormat

from ..rendering import TEMPLATES
from .folding import ALL, TOOLS, joined, parse, parser_of, write

BERN = '{"city": "Bern"}'
CALL = ("get_weather", BERN)
TIMES = ("get_time", "{}")
by_name = pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)


@by_name
def test_one_call(form: WrittenFormat) -> None:
    answer = parse(form, write(form, [CALL]))
    assert (answer.text, answer.calls, answer.ids) == ("", [CALL], ["id0"])


@by_name
def test_several_calls_and_one_name_that_begins_another(form: WrittenFormat) -> None:
    calls = [CALL, ("get_weather_of_week", '{"week": [1, {"a": "}]"}]}'), TIMES]
    answer = parse(form, write(form, calls))
    assert (answer.text, answer.calls, answer.ids) == ("", calls, ["id0", "id1", "id2"])


@by_name
def test_a_function_that_is_not_in_the_list_is_text(form: WrittenFormat) -> None:
    written = write(form, [("drop_tables", "{}")])
    answer = parse(form, written)
    assert answer.calls == []
    assert answer.text == written


@by_name
def test_arguments_stream(form: WrittenFormat) -> None:
    parser = parser_of(form)
    long = '{"city": "' + "x" * 50 + '"}'
    written = write(form, [("get_weather", long)])
    at = written.index("xxx") + 10
    events = parser.push(written[:at])
    assert events == [CallBegun(0, "id0", "get_weather"), CallArguments(0, '{"city": "' + "x" * 10)]
    assert parser.push(written[at : at + 5]) == [CallArguments(0, "xxxxx")]


@by_name
def test_an_answer_that_ends_inside_a_call_keeps_it(form: WrittenFormat) -> None:
    written = write(form, [CALL])
    answer = parse(form, written[: written.index("Be") + 2])
    assert (answer.text, answer.calls) == ("", [("get_weather", '{"city": "Be')])


@by_name
def test_an_answer_that_ends_before_the_call_is_one_is_text(form: WrittenFormat) -> None:
    written = write(form, [CALL])
    started = written[: written.index("get_w") + 5]
    answer = parse(form, started)
    assert (answer.text, answer.calls) == (started, [])


@pytest.mark.parametrize(
    "form", [hermes.FORMAT, functionary.FORMAT, deepseek.FORMAT, phi4.FORMAT], ids=lambda f: f.name
)
def test_text_around_calls(form: WrittenFormat) -> None:
    answer = parse(form, f"Let me see.\n\n{write(form, [CALL])}\n\nDone. \n")
    assert (answer.text, answer.calls) == ("Let me see.Done. \n", [CALL])


@pytest.mark.parametrize("form", [hermes.FORMAT, functionary.FORMAT, deepseek.FORMAT], ids=lambda form: form.name)
def test_broken_json_is_raw_arguments_up_to_the_end_marker(form: WrittenFormat) -> None:
    for broken in ("{\"city\": 'Bern'}", '{"city": "Bern}\n', '{"city": "B"]}', '{"city": None, 1', '{"a": <b>}'):
        shape = form.shape
        opening = shape.marker + shape.opening + shape.begin + "get_weather" + shape.middle
        answer = parse(form, f"{opening}{broken}{shape.end} Sorry.")
        assert (answer.text, answer.calls) == ("Sorry.", [("get_weather", broken)])


def test_hermes_keys_in_another_order_and_more_of_them() -> None:
    answer = parse(
        hermes.FORMAT,
        '<tool_call>{"id": [1, "}"], "arguments": {"city": "Bern"}, "type": "function", "name": "get_weather"}'
        "</tool_call>",
    )
    assert (answer.text, answer.calls) == ("", [CALL])


def test_hermes_arguments_as_a_string_are_unescaped() -> None:
    written = r'"{\"city\": \"B\u00e9rn \ud83d\ude00 \\n \/\"}"'
    for text in (
        '<tool_call>{"name": "get_weather", "arguments": %s}</tool_call>',
        '<tool_call>{"arguments": %s, "name": "get_weather"}</tool_call>',
    ):
        for pieces in ([text % written], list(text % written)):
            assert parse(hermes.FORMAT, *pieces).calls == [("get_weather", '{"city": "Bérn 😀 \\n /"}')]


@pytest.mark.parametrize("absent", ["null", '""', None])
def test_no_arguments_are_an_empty_object(absent: str | None) -> None:
    written = "" if absent is None else f', "arguments": {absent}'
    assert parse(hermes.FORMAT, f'<tool_call>{{"name": "get_time"{written}}}</tool_call>').calls == [TIMES]


def test_hermes_braces_too_few_or_too_many() -> None:
    for end in ("", "}", "}}", "}}]\n", "\n"):
        answer = parse(hermes.FORMAT, f'<tool_call>\n{{"name": "get_weather", "arguments": {BERN}{end}</tool_call>ok')
        assert (answer.text, answer.calls) == ("ok", [CALL])


def test_hermes_without_an_end_marker() -> None:
    one = f'<tool_call>\n{{"name": "get_weather", "arguments": {BERN}}}'
    answer = parse(hermes.FORMAT, f"{one}\n{one} and so on")
    assert (answer.text, answer.calls) == ("and so on", [CALL, CALL])


def test_hermes_several_objects_in_one_pair_of_markers() -> None:
    two = f'{{"name": "get_weather", "arguments": {BERN}}}\n{{"name": "get_time", "arguments": {{}}}}'
    for text in (f"<tool_call>\n{two}\n</tool_call> ok", f"```json\n{two}\n```ok", f"<tool_call>[{two}]</tool_call>ok"):
        for pieces in ([text], list(text)):
            answer = parse(hermes.FORMAT, *pieces)
            assert (answer.text, answer.calls) == ("ok", [CALL, TIMES])
    other = parse(hermes.FORMAT, f'<tool_call>{{"name": "get_weather", "arguments": {BERN}}}\n{{"a": 1}}</tool_call>')
    assert (other.text, other.calls) == ('{"a": 1}', [CALL])


def test_hermes_without_markers() -> None:
    answer = parse(
        hermes.FORMAT, f'\n{{"name": "get_weather", "arguments": {BERN}}}\n\n{{"name": "get_time", "arguments": {{}}}}'
    )
    assert (answer.text, answer.calls) == ("", [CALL, TIMES])


def test_hermes_in_a_code_block() -> None:
    answer = parse(hermes.FORMAT, f'I call:\n```json\n{{"name": "get_weather", "arguments": {BERN}}}\n```\nDone.')
    assert (answer.text, answer.calls) == ("I call:Done.", [CALL])
    for text in ('```json\n{"a": 1}\n``` and ```json [1]```', '```json\n{"name": "get_weather"}\n```', "```json"):
        assert parse(hermes.FORMAT, text).text == text
        assert parse(hermes.FORMAT, *text).text == text


def test_a_marker_inside_a_string_ends_nothing() -> None:
    arguments = '{"city": "</tool_call><tool_call>"}'
    answer = parse(hermes.FORMAT, f'<tool_call>{{"name": "get_weather", "arguments": {arguments}}}</tool_call>')
    assert (answer.text, answer.calls) == ("", [("get_weather", arguments)])


def test_a_call_after_one_that_is_none() -> None:
    good = write(hermes.FORMAT, [CALL])
    answer = parse(hermes.FORMAT, f"<tool_call>no</tool_call> {good}")
    assert (answer.text, answer.calls) == ("<tool_call>no</tool_call>", [CALL])


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Bern", "degrees": 21}',
        '{"name": "Bern", "inhabitants": 140000}',
        '{"name": "get_weather"}',
        '{"name": "get_weather", "degrees": 3}',
        "{ and } are brackets",
        '[1, 2, {"name": "get_weather"}]',
        '  {"a": 1}\n',
        "{",
        '{"name": "get_weather", "para',
        '[{"name": "drop"}]',
        "[]",
        "get_weather is a function",
        "functools is a module, and functools[0] is none",
    ],
)
@by_name
def test_text_that_looks_like_a_call_is_text(form: WrittenFormat, text: str) -> None:
    answer = parse(form, text)
    assert (answer.text, answer.calls) == (text, [])


def test_an_object_that_is_no_call_is_not_held_back() -> None:
    parser = parser_of(llama3.FORMAT)
    assert parser.push('{"city": "Be') != []


def test_llama3() -> None:
    for text in (
        f'<|python_tag|>{{"name": "get_weather", "parameters": {BERN}}}',
        f'\n\n{{"type": "function", "name": "get_weather", "parameters": {BERN}}}',
        f'{{"name": "get_weather", "arguments": {BERN}}}',
        f'[{{"name": "get_weather", "parameters": {BERN}}}]',
    ):
        answer = parse(llama3.FORMAT, text)
        assert (answer.text, answer.calls) == ("", [CALL])
    raw = '{"city": "two\nlines"}'  # a line break in a string: bad JSON whose end is clear
    answer = parse(
        llama3.FORMAT, f'{{"name": "get_weather", "parameters": {raw}}}; {{"name": "get_time", "parameters": {{}}}}'
    )
    assert (answer.text, answer.calls) == ("", [("get_weather", raw), TIMES])


def test_mistral_old_and_new_with_and_without_tokens() -> None:
    for text in (
        f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {BERN}, "id": "abcdefghi"}}]',
        f'[{{"name": "get_weather", "arguments": {BERN}}}]',
        f'[TOOL_CALLS] [ {{"arguments": {BERN}, "name": "get_weather"}} ]',
        f"[TOOL_CALLS]get_weather[ARGS]{BERN}",
        f"[TOOL_CALLS]get_weather{BERN}",
        f"get_weather{BERN}",
        f"get_weather[ARGS] {BERN}",
    ):
        answer = parse(mistral.FORMAT, text)
        assert (answer.text, answer.calls) == ("", [CALL])
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", mistral.FORMAT.new_id())
    assert parse(mistral.FORMAT, f"[TOOL_CALLS]get_weather{BERN}[TOOL_CALLS]get_time[ARGS]{{}}").calls == [CALL, TIMES]


def test_phi4_both_markers_and_none() -> None:
    items = f'[{{"name": "get_weather", "arguments": {BERN}}}, {{"name": "get_time", "arguments": {{}}}}]'
    for text in (f"<|tool_call|>{items}<|/tool_call|>", f"functools{items}", items, f"<|tool_call|>{items}"):
        answer = parse(phi4.FORMAT, text)
        assert (answer.text, answer.calls) == ("", [CALL, TIMES])


def test_functionary_recipients() -> None:
    answer = parse(functionary.RECIPIENTS, f"all\nLet me see.\n>>>get_weather\n{BERN}>>>all\nSo.")
    assert (answer.text, answer.calls) == ("Let me see.So.", [CALL])
    assert parse(functionary.RECIPIENTS, "alle Menschen").text == "alle Menschen"
    assert parse(functionary.RECIPIENTS, "al").text == "al"
    assert (
        parse(functionary.RECIPIENTS, "all\nall\n").text == parse(functionary.RECIPIENTS, *"all\nall\n").text == "all\n"
    )


@by_name
def test_an_answer_full_of_markers_is_read_in_reasonable_time(form: WrittenFormat) -> None:
    for unit in ('{"a": "', '{"name": "get_time", "x": [', '[{"', "get_weather", '{"a": {"a": '):
        text = "".join(f"{opening.marker}{unit}" for opening in form.layout.openings for _ in range(500))
        long = form.shape.marker + '{"x": "' + text + "<" * 60_000 + text
        pieces = [long[at : at + 50] for at in range(0, len(long), 50)]
        begun = time.monotonic()
        assert parse(form, *pieces).text == long
        assert time.monotonic() - begun < 5


def test_text_is_not_held_back_without_reason() -> None:
    parser = parser_of(hermes.FORMAT)
    assert parser.push("Hello, ") == [Text("Hello,")]
    assert parser.push("you <to") == [Text(" you")]
    assert parser.push("day") == [Text(" <today")]
    assert parser.push("<tool") == []
    assert parser.finish() == [Text("<tool")]


def test_events_of_one_answer() -> None:
    text = f"Well: {write(hermes.FORMAT, [CALL])}"
    assert joined(hermes.FORMAT, [text]) == [
        Text("Well:"),
        CallBegun(0, "id0", "get_weather"),
        CallArguments(0, BERN),
    ]


def test_ids() -> None:
    parser = hermes.FORMAT.parser(TOOLS)
    begun = parser.push(write(hermes.FORMAT, [CALL]))[0]
    assert isinstance(begun, CallBegun)
    assert re.fullmatch(r"call_[0-9a-f]{24}", begun.id)


def test_the_format_of_known_templates() -> None:
    found = {path.stem: format_for(path.read_text()).name for path in TEMPLATES}
    assert found == {
        "DeepSeek-R1-Distill-Qwen-32B": "generic",
        "Mistral-Nemo-Instruct-2407": "mistral",
        "Phi-3.5-mini-instruct": "generic",
        "Qwen2.5-7B-Instruct": "hermes",
        "Qwen3-0.6B": "hermes",
        "SmolLM2-135M-Instruct": "generic",
        "SmolLM3-3B": "generic",
    }
    assert format_for(None) is generic.FORMAT
    assert [form.name for form in FORMATS if not form.matches("nothing")] == [form.name for form in FORMATS[:-1]]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{% if 'tools' in message %}<|tool|>{{ message['tools'] }}<|/tool|>{% endif %}", "phi4"),
        ("{{ tools }} <|tool_call|>", "phi4"),
        ("{% if tools %}<|python_tag|>{% endif %}", "llama3"),
        ('{{ tools }} {"name": function name, "parameters": dictionary of argument name and its value}.', "llama3"),
        ("{{ tools }} <|python_tag|> <function=example>{...}</function>", "functionary"),
        ("{{ tools }} >>>all\n", "functionary-recipients"),
        ("{{ tools }} [TOOL_CALLS] [ARGS]", "mistral-named"),
        ("{{ tools }} <\uff5ctool\u2581call\u2581begin\uff5c>", "deepseek"),
    ],
)
def test_the_format_of_a_template_with_marks(template: str, name: str) -> None:
    assert format_for(template).name == name


def test_no_tools_no_calls() -> None:
    written = write(hermes.FORMAT, [CALL])
    none: tuple[Tool, ...] = ()
    assert parse(hermes.FORMAT, written, tools=none).text == written
