"""Answers held to a grammar: always valid, always ended, never without the mask."""

import json
import threading
from typing import Any

import jsonschema
import pytest

from server.engine.guidance import Guides
from server.errors import InvalidValue
from server.runners.fake import VOCABULARY, FakeTokenizer
from server.types import Grammar, Request, SamplingParams, Thought

from .driving import Driver, fake_runner

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
ENDLESS = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "n": {"type": "number"}},
    "required": ["text", "n"],
}


def schema(content: object) -> Grammar:
    return Grammar("json_schema", json.dumps(content), json=True)


def answers(grammar: Grammar, *, count: int = 1, n: int = 1, **params: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Text and reason of the end, by sequence."""
    driver = Driver(fake_runner())
    for seed in range(count):
        sampling = SamplingParams(**{"temperature": 1.0, "seed": seed, "max_tokens": 200, **params})
        driver.send(Request(str(seed), "Say it.", sampling, n=n, grammar=grammar))
    driver.run()
    assert not driver.failures, driver.failures
    return driver.text, dict(driver.finish)


@pytest.mark.parametrize("params", [{}, {"temperature": 0.0}, {"top_k": 5}, {"top_p": 0.9}])
def test_every_answer_matches_the_schema(params: dict[str, Any]) -> None:
    texts, ends = answers(schema(PERSON), count=20, **params)
    for text in texts.values():
        jsonschema.validate(json.loads(text), PERSON)
    assert set(ends.values()) == {"stop"}


def test_an_endless_schema_ends_before_the_tokens_run_out() -> None:
    texts, ends = answers(schema(ENDLESS), count=10, max_tokens=120)
    assert set(ends.values()) == {"stop"}
    for text in texts.values():
        jsonschema.validate(json.loads(text), ENDLESS)


def test_what_does_not_fit_is_cut_and_says_so() -> None:
    _, ends = answers(schema({"type": "string", "minLength": 60}), max_tokens=20)
    assert set(ends.values()) == {"length"}


def test_a_number_has_no_more_digits_than_a_double_tells_apart() -> None:
    texts, _ = answers(schema({"type": "number"}), count=20)
    for text in texts.values():
        digits = max(len(run) for run in "".join(c if c.isdigit() else " " for c in text).split())
        assert digits <= 17
        assert abs(json.loads(text)) < float("inf")


def test_a_number_that_needs_more_digits_gets_them() -> None:
    texts, _ = answers(schema({"type": "string", "pattern": "^[0-9]{30}$"}), count=3)
    assert {len(json.loads(text)) for text in texts.values()} == {30}


def test_a_regular_expression_and_a_lark_grammar() -> None:
    texts, _ = answers(Grammar("regex", r"[0-9]{3}-[a-c]{2}", "guided_regex"), count=5)
    assert all(len(text) == 6 and text[3] == "-" for text in texts.values())
    texts, _ = answers(Grammar("lark", 'start: ("yes" | "no") "!"', "grammar"), count=8)
    assert set(texts.values()) == {"yes!", "no!"}


def test_each_continuation_has_a_state_of_its_own() -> None:
    texts, ends = answers(schema(PERSON), n=4)
    assert len(texts) == len(ends) == 4
    assert len(set(texts.values())) > 1
    for text in texts.values():
        jsonschema.validate(json.loads(text), PERSON)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (Grammar("json_schema", '{"not": {"type": "string"}}', "response_format"), "response_format: .*not"),
        (Grammar("json_schema", '{"type": "strin"}', "response_format"), "response_format: "),
        (Grammar("json_schema", '{"$ref": "http://example.org/x"}', "guided_json"), "guided_json: "),
        (Grammar("regex", "(", "guided_regex"), "guided_regex: "),
        (Grammar("json_schema", "{", "guided_json"), "guided_json: "),
        (Grammar("json_schema", "false", "guided_json"), "guided_json: "),
        (Grammar("json_schema", '{"items": {"minimum": 1e20}}', "guided_json"), r"minimum 1e\+20 is beyond"),
        (Grammar("json_schema", '{"enum": [123456789012345678901]}', "guided_json"), "number 123456789012345678901 is"),
        (Grammar("json_schema", '{"items":' * 300 + "{}" + "}" * 300, "guided_json"), "200 levels"),
        (Grammar("lark", "start: missing", "grammar"), "grammar: .*missing"),
    ],
)
def test_a_grammar_that_cannot_be_enforced_is_refused(grammar: Grammar, words: str) -> None:
    with pytest.raises(InvalidValue, match=words) as raised:
        Guides(FakeTokenizer(), VOCABULARY).compile(grammar)
    assert raised.value.param == grammar.param
    assert len(raised.value.message) < 500


def test_a_compiled_grammar_is_kept_and_copies_are_apart() -> None:
    guides = Guides(FakeTokenizer(), VOCABULARY)
    first, second = guides.compile(schema(PERSON)), guides.compile(schema(PERSON))
    first.accept(ord("{"))
    assert not second.allowed(9, 99)[ord('"')]
    assert second.allowed(9, 99)[ord("{")]


def test_what_is_kept_does_not_wait_for_what_is_tried() -> None:
    """One thread is held in a trial; another gets the grammar that was compiled before."""
    begun, release = threading.Event(), threading.Event()

    def attempt(grammar: Grammar) -> int:
        if grammar.param == "slow":
            begun.set()
            assert release.wait(20)
        return 0

    guides = Guides(FakeTokenizer(), VOCABULARY, attempt)
    guides.compile(schema(PERSON))
    slow = threading.Thread(target=guides.compile, args=(Grammar("regex", "a+", "slow"),))
    slow.start()
    try:
        assert begun.wait(20)
        assert guides.kept(Grammar("regex", "a+", "slow")) is None
        assert guides.compile(schema(PERSON)).allowed(9, 99)[ord("{")]
    finally:
        release.set()
        slow.join()
    assert guides.kept(Grammar("regex", "a+", "slow")) is not None


STRANGE = """// start: a comment
%llguidance {}
?start : answer head_9 marker_0 THOUGHT
answer: "a"
head_9: "b"
marker_0: "<tool_call>"
THOUGHT: "d"
"""


@pytest.mark.parametrize(
    ("thought", "before"), [("none", ""), ("may", ""), ("may", "<think>Hm.</think>"), ("inside", "Hm.</think>\n")]
)
def test_a_grammar_of_a_user_is_taken_as_it_is(thought: Thought, before: str) -> None:
    """Also with names of ours in it, and with a `start` that is written in another way."""
    guide = Guides(FakeTokenizer(), VOCABULARY).compile(Grammar("lark", STRANGE, "grammar", thought=thought))
    for byte in f"{before}ab<tool_call>d".encode():
        assert guide.allowed(99, 100)[byte]
        guide.accept(byte)
    assert guide.finished


@pytest.mark.parametrize("thought", ["none", "may", "inside"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('begin: "a"', "guided_grammar: no start rule found"),
        ('start: "a" @cupola_answer', "guided_grammar: @cupola_answer is a name of the server's own"),
        ('start: "a"\nstart: "b"', r"guided_grammar: at 2\(8\): duplicate rule"),
    ],
)
def test_a_grammar_of_a_user_is_refused_with_its_reason(source: str, words: str, thought: Thought) -> None:
    with pytest.raises(InvalidValue, match=words) as raised:
        Guides(FakeTokenizer(), VOCABULARY).compile(Grammar("lark", source, "guided_grammar", thought=thought))
    assert raised.value.status == 400
    assert raised.value.param == "guided_grammar"
