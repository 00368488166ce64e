"""Whatever a model writes, and however it is cut: nothing raised, nothing lost, the same events."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.chat.tools.json_stream import Unescaper, Value
from server.chat.tools.written import WrittenFormat

from .folding import ALL, TOOLS, arguments_of, joined, parse, write

by_name = pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
EXAMPLES = 40  # of each format
NAMES = [tool.name for tool in TOOLS]
# Surrogates cannot come from a decoder of UTF-8.
characters = st.characters(exclude_categories=["Cs"])
strings = st.text(st.one_of(characters, st.sampled_from('\\"{}[]<>\n')), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(strings, values, max_size=4)
spacings = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
written_objects = st.builds(lambda value, spacing: json.dumps(value, **spacing), objects, spacings)
calls = st.lists(st.tuples(st.sampled_from(NAMES), written_objects), min_size=1, max_size=3)


def cuts(data: st.DataObject, text: str) -> list[str]:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def answers(draw: st.DrawFn, form: WrittenFormat) -> str:
    """Text, markers, calls whole and truncated, in any order."""
    shape = form.shape
    pieces = [
        *(
            text
            for text in (shape.marker, shape.opening, shape.begin, shape.middle, shape.close, shape.closing)
            if text
        ),
        *(text for text in (shape.end, shape.between, *form.shown, *form.layout.silent, form.layout.prelude) if text),
        *NAMES,
        *'{}[]",:\\;\n \ufffd',
        '{"name": "get_time"',
        '"arguments": "{\\"a\\": 1',
        "\\ud83d\\ude00",
        "null",
    ]
    calls_written = calls.map(lambda made: write(form, made))
    truncated = st.tuples(calls_written, st.integers(0, 80)).map(lambda made: made[0][: made[1]])
    part = st.one_of(st.sampled_from(pieces), strings, calls_written, truncated)
    return "".join(draw(st.lists(part, max_size=8)))


@by_name
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_any_cut_gives_the_same_events(form: WrittenFormat, data: st.DataObject) -> None:
    text = data.draw(answers(form))
    whole = joined(form, [text])
    assert joined(form, cuts(data, text)) == whole
    assert joined(form, text) == whole


@by_name
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_calls_between_texts(form: WrittenFormat, data: st.DataObject) -> None:
    made = data.draw(calls)
    words = st.text(st.sampled_from("abc \n.,é🙂"), max_size=10)
    # Without a marker a call stands alone.
    before, after = ("", "") if not form.shape.marker else (data.draw(words), data.draw(words))
    answer = parse(form, *cuts(data, before + write(form, made) + after))
    assert answer.calls == made
    assert arguments_of(answer) == [(name, json.loads(arguments)) for name, arguments in made]
    assert answer.text == (before.rstrip() + after.lstrip())


@by_name
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_text_without_a_call_is_whole(form: WrittenFormat, data: st.DataObject) -> None:
    text = data.draw(answers(form))
    answer = parse(form, *cuts(data, text))
    silent = (*form.layout.silent, form.layout.prelude)
    if not answer.calls and not any(marker and marker in text for marker in silent):
        assert answer.text == text


@by_name
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_nothing_but_layout_is_lost(form: WrittenFormat, data: st.DataObject) -> None:
    """A letter that stands in no call, marker or key comes out again."""
    text = data.draw(answers(form)).replace("§", "") + "§"
    answer = parse(form, text)
    assert (answer.text + "".join(arguments for _, arguments in answer.calls)).count("§") == 1


@given(value=values, spacing=spacings, behind=st.sampled_from(["", " ", ",", "}", "]", "x"]), data=st.data())
def test_the_end_of_a_value(value: Any, spacing: Any, behind: str, data: st.DataObject) -> None:
    text = json.dumps(value, **spacing)
    scanner, read = Value(), 0
    for piece in cuts(data, text + behind):
        read += scanner.feed(piece)
    assert read == len(text)
    if behind or text[0] in '{["':
        assert scanner.state == "done"


@given(text=st.text(), ascii_only=st.booleans(), data=st.data())
def test_unescaping_is_what_json_does(text: str, ascii_only: bool, data: st.DataObject) -> None:
    inside = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    unescaper = Unescaper()
    said = "".join(unescaper.push(piece) for piece in cuts(data, inside)) + unescaper.push("", final=True)
    assert said == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(text=st.text(st.sampled_from('\\u0dD83deE/n"xé'), max_size=20), data=st.data())
def test_unescaping_nonsense_is_the_same_for_any_cut(text: str, data: st.DataObject) -> None:
    def unescape(pieces: list[str]) -> str:
        unescaper = Unescaper()
        return "".join(unescaper.push(piece) for piece in pieces) + unescaper.push("", final=True)

    said = unescape([text])
    assert unescape(cuts(data, text)) == unescape(list(text)) == said
    said.encode()
