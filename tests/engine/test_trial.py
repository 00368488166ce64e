"""Grammars that would take hours and all memory are refused, and others are compiled after them."""

import json
import time
from collections.abc import Iterator

import pytest

from server.engine.guidance import Guides
from server.engine.trial import Trials
from server.errors import InvalidValue
from server.runners.fake import VOCABULARY, FakeTokenizer
from server.types import Grammar

FINE = Grammar("json_schema", '{"type": "string", "maxLength": 9}', json=True)
PATTERNS = [{"type": "string", "pattern": f"(a|b)*{'ab'[i % 2]}(a|b){{{i}}}"} for i in range(1, 40)]
LOOP = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}


def schema(content: object) -> Grammar:
    return Grammar("json_schema", json.dumps(content), "guided_json", json=True)


@pytest.fixture
def trials() -> Iterator[Trials]:
    trials = Trials()
    yield trials
    trials.close()


@pytest.mark.parametrize(
    "grammar",
    [
        schema({"type": "integer", "multipleOf": 1_000_000_007}),
        schema({"allOf": PATTERNS}),
        schema(LOOP),
    ],
    ids=["multiple", "patterns", "loop"],
)
def test_a_grammar_without_bounds_is_refused_in_time(trials: Trials, grammar: Grammar) -> None:
    guides = Guides(FakeTokenizer(), VOCABULARY, trials)
    guides.compile(FINE)
    began = time.monotonic()
    with pytest.raises(InvalidValue, match=grammar.param) as raised:
        guides.compile(grammar)
    assert time.monotonic() - began < 10
    assert raised.value.param == grammar.param
    assert guides.compile(FINE).allowed(9, 99)[ord('"')]
    assert guides.compile(schema({"const": 1})).allowed(9, 99)[ord("1")]


def test_a_grammar_says_what_it_takes(trials: Trials) -> None:
    assert trials(FINE) < 8 << 20
    assert trials(schema({"type": "integer", "multipleOf": 65_521})) > 8 << 20


def test_a_child_that_was_killed_is_replaced(trials: Trials) -> None:
    trials(FINE)
    assert trials._child
    trials._child.kill()
    trials._child.wait()
    trials(FINE)
