"""Thoughts, text and calls of one answer."""

import pytest

from server.chat.answer import AnswerParser, join
from server.chat.events import CallArguments, CallBegun, ChatEvent, Reasoning, Text
from server.chat.reasoning import ReasoningSplitter
from server.chat.tools import hermes
from server.chat.tools.base import Tool

ANSWER = (
    '<think>\nCall <tool_call>.\n</think>\n\nI look.\n<tool_call>\n{"name": "now", "arguments": {"a": 1}}\n</tool_call>'
)
EVENTS = [
    Reasoning("Call <tool_call>."),
    Text("I look."),
    CallBegun(0, "one", "now"),
    CallArguments(0, '{"a": 1}'),
]


def answer_parser() -> AnswerParser:
    return AnswerParser(ReasoningSplitter(), hermes.FORMAT.parser([Tool("now")], lambda: "one"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_thoughts_text_and_calls(size: int) -> None:
    parser = answer_parser()
    events: list[ChatEvent] = []
    for start in range(0, len(ANSWER), size):
        events += parser.push(ANSWER[start : start + size])
    events += parser.finish()
    assert join(events) == EVENTS
    assert parser.called


def test_one_push_joins_neighbours() -> None:
    parser = answer_parser()
    assert parser.push("a < b <tool> c") == [Text("a < b <tool> c")]
    assert parser.push("") == []
    assert parser.push(" ") == []
    assert parser.finish() == [Text(" ")]
    assert not parser.called


def test_without_a_splitter_or_a_parser() -> None:
    parser = AnswerParser()
    assert parser.push(ANSWER) == [Text(ANSWER)]
    assert parser.push("") == parser.finish() == []
    assert not parser.called
    thinking = AnswerParser(ReasoningSplitter(inside=True))
    assert thinking.push("Hm.</think>") == [Reasoning("Hm.")]
    assert thinking.push("\n\nYes <tool_call>") == [Text("Yes <tool_call>")]
    assert AnswerParser(tools=hermes.FORMAT.parser([])).push("<think>") == [Text("<think>")]


def test_what_was_held_back_comes_at_the_end() -> None:
    parser = answer_parser()
    assert parser.push("<thi") == []
    assert parser.finish() == [Text("<thi")]


def test_a_forced_answer_that_is_cut_before_a_name_is_no_text() -> None:
    tool = Tool("look")
    whole = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>\n<tool_call>\n{"name": "lo'
    for forced, rest in ((True, ""), (False, '<tool_call>\n{"name": "lo')):
        parser = AnswerParser(tools=hermes.FORMAT.parser([tool]), forced=forced)
        events = parser.push(whole) + parser.finish()
        assert parser.called
        assert "".join(event.text for event in events if isinstance(event, Text)).strip() == rest


def test_a_call_is_complete_when_its_arguments_are() -> None:
    for cut, called, complete in (
        (ANSWER, True, True),
        (ANSWER[: ANSWER.index("\n</tool_call>")], True, True),  # a stop string may be the end marker
        (ANSWER[: ANSWER.index("}}")], True, False),
        (ANSWER[: ANSWER.index('{"a"')] + "{", True, False),
        (ANSWER[: ANSWER.index('"now')], False, True),
        ("Words.", False, True),
    ):
        parser = answer_parser()
        parser.push(cut)
        parser.finish()
        assert (parser.called, parser.complete) == (called, complete)
