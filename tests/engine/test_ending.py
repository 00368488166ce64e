"""JSON comes to an end: what is left in the mask near the end of the budget, and before that in a thought."""

import json
from collections.abc import Callable

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.ending import Ending, Kinds
from server.engine.guidance import Guides
from server.runners.fake import VOCABULARY, FakeTokenizer
from server.types import Grammar, Thought

from .test_guidance import ENDLESS, answers

BYTES = [bytes([i]) for i in range(256)]
THINK, OVER = 256, 257
MARKED = Kinds.of([*BYTES, b"", b""], marks={THINK: b"<think>", OVER: b"</think>"})


def _walk(pieces: list[bytes], text: bytes) -> Ending:
    """After a text, of which each byte is a token."""
    ending = Ending(Kinds.of(pieces))
    for byte in text:
        ending.accept(byte)
    return ending


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@settings(max_examples=200)
def test_it_is_known_where_a_document_is(document: object) -> None:
    """After a whole document nothing is open, whatever its strings say."""
    ending = _walk(BYTES, json.dumps(document).encode())
    everything = ending.narrowed(Kinds.of(BYTES).digits | True, 1, 100)
    assert not everything[ord("{")]
    assert everything[ord("}")]


@pytest.mark.parametrize(
    ("text", "choose", "left", "stays"),
    [
        (b'{"a": "x', lambda b: True, 5, '"'),
        (b'{"a": "x', lambda b: b != ord('"'), 5, "@"),
        (b'{"a": 12345678901234567', lambda b: True, 90, "no digits"),
        (b'{"a": 1e12', lambda b: True, 90, "no digits"),
        (b'{"a": "12345678901234567', lambda b: True, 90, "everything"),
    ],
)
def test_the_mask_is_narrowed(text: bytes, choose: Callable[[int], bool], left: int, stays: str) -> None:
    allowed = np.fromiter(map(choose, range(256)), np.bool_, 256)
    narrowed = _walk(BYTES, text).narrowed(allowed, left, 100)
    kept = {chr(i) for i in np.flatnonzero(narrowed)}
    if stays == "everything":
        assert (narrowed == allowed).all()
    elif stays == "no digits":
        assert kept == {chr(i) for i in range(256)} - set("0123456789")
    else:
        assert kept == {stays}


@pytest.mark.parametrize("thought", ["may", "inside"])
@pytest.mark.parametrize("budget", [60, 160])
def test_a_document_behind_a_thought_ends_before_the_tokens_run_out(thought: Thought, budget: int) -> None:
    """The fake model, left alone, would think for ever."""
    grammar = Grammar("json_schema", json.dumps(ENDLESS), json=True, thought=thought)
    texts, ends = answers(grammar, count=10, max_tokens=budget)
    assert set(ends.values()) == {"stop"}
    for text in texts.values():
        before, mark, document = text.rpartition("</think>")
        assert mark or (thought == "may" and not before)
        jsonschema.validate(json.loads(document), ENDLESS)
        assert before.startswith("<think>") or thought == "inside" or not mark


def _after(kinds: Kinds, thought: Thought, tokens: list[int]) -> Ending:
    ending = Ending(kinds, thought)
    for token in tokens:
        ending.accept(token)
    return ending


def _left(ending: Ending, left: int = 5) -> set[int]:
    """The tokens that stay of all."""
    return set(map(int, np.flatnonzero(ending.narrowed(np.ones(len(ending._kinds.pieces), np.bool_), left, 100))))


@pytest.mark.parametrize(
    ("thought", "text", "next_"),
    [
        ("inside", 'Hm "{', "<"),
        ("inside", "Hm </th", "i"),
        ("inside", "Hm <<", "/"),
        ("inside", "<think", "<"),
        ("may", "<think>Hm", "<"),
        ("may", "<think></", "t"),
        ("inside", 'Hm </think>{"a": "x', '"'),
        ("may", '<think>Hm </think>\n{"a": "x', '"'),
        ("may", '{"a": "<think>x', '"'),
        ("may", '<tool_call>{"a": "x', '"'),
    ],
)
def test_a_thought_is_closed_and_then_the_document(thought: Thought, text: str, next_: str) -> None:
    ending = _after(Kinds.of(BYTES), thought, list(text.encode()))
    assert _left(ending) == {ord(next_)}
    assert _left(ending.copy()) == {ord(next_)}


def test_pieces_of_the_mark_and_the_mark_itself() -> None:
    pieces = [b"<", b"</", b"think", b"</think", b">", b"</think>", b">\n", b"a"]
    assert _left(Ending(Kinds.of(pieces), "inside")) == {0, 1, 3, 5}
    assert _left(_after(Kinds.of(pieces), "inside", [7, 1])) == {2}
    special = Ending(MARKED, "inside")
    assert _left(special) == {OVER}
    special.accept(OVER)
    special.accept(ord('"'))
    assert _left(special) == {ord('"')}
    assert _left(_after(MARKED, "may", [THINK, *b'"a'])) == {OVER}
    assert _left(_after(MARKED, "may", [THINK, *b"a", OVER, *b'{"a'])) == {ord('"')}


class Thinker(FakeTokenizer):
    """The fake tokenizer, with special tokens around a thought."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        found = {"<think>": VOCABULARY, "</think>": VOCABULARY + 1}.get(text)
        return [found] if special and found else super().encode(text, special=special)

    def token_bytes(self, token: int) -> bytes:
        return super().token_bytes(token) if token < VOCABULARY else b""


@pytest.mark.parametrize("thought", ["may", "inside"])
@pytest.mark.parametrize("seed", range(5))
def test_a_thought_between_special_tokens_is_closed_by_one(thought: Thought, seed: int) -> None:
    chance, budget = np.random.default_rng(seed), 80
    grammar = Grammar("json_schema", json.dumps(ENDLESS), json=True, thought=thought)
    guide = Guides(Thinker(), VOCABULARY + 2).compile(grammar)
    said: list[int] = []
    while not guide.finished:
        allowed = guide.allowed(budget - len(said), budget)
        token = VOCABULARY if thought == "may" and not said else int(chance.choice(np.flatnonzero(allowed)))
        assert allowed[token]
        if token >= VOCABULARY:
            assert token == VOCABULARY or VOCABULARY + 1 not in said
        guide.accept(token)
        said.append(token)
    assert len(said) <= budget
    assert VOCABULARY + 1 in said
    document = bytes(token for token in said[said.index(VOCABULARY + 1) + 1 :] if token < 256)
    jsonschema.validate(json.loads(document), ENDLESS)


def test_a_thought_is_left_alone_while_there_are_tokens() -> None:
    ending = _after(Kinds.of(BYTES), "inside", list(b"Hm 12345678901234567890"))
    assert len(_left(ending, left=51)) == 256
    assert _left(ending, left=50) == {ord("<")}
