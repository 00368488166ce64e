"""The fields that hold an answer to a form, parsed: one grammar or none, and errors that name the field."""

import json
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.api.schemas.guided import MOST_SOURCE, GuidedFields, escaped
from server.errors import RequestError

SCHEMA = {"type": "object", "properties": {"ä": {"type": "string"}}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_json": SCHEMA}, "guided_json"),
        ({"guided_json": json.dumps(SCHEMA)}, "guided_json"),
        ({"json_schema": SCHEMA}, "json_schema"),
        ({"structured_outputs": {"json": SCHEMA}}, "structured_outputs.json"),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            "response_format",
        ),
    ],
)
def test_a_schema_under_every_name(fields: dict[str, Any], param: str) -> None:
    grammar = GuidedFields(**fields).grammar()
    assert grammar
    assert (grammar.kind, json.loads(grammar.source), grammar.param) == ("json_schema", SCHEMA, param)


@pytest.mark.parametrize(
    "fields",
    [{}, {"response_format": {"type": "text"}}, {"grammar": ""}, {"structured_outputs": {}}, {"guided_json": None}],
)
def test_nothing_is_no_grammar(fields: dict[str, Any]) -> None:
    assert GuidedFields(**fields).grammar() is None


def test_any_json_object() -> None:
    for fields in ({"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}):
        grammar = GuidedFields.model_validate(fields).grammar()
        assert grammar
        assert (grammar.kind, json.loads(grammar.source)) == ("json_schema", {"type": "object"})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=8))
def test_choices_are_matched_letter_by_letter(choices: list[str]) -> None:
    grammar = GuidedFields(guided_choice=choices).grammar()
    assert grammar
    assert all(re.fullmatch(grammar.source, choice) for choice in choices)
    assert grammar.source == "|".join(map(escaped, choices))
    assert not re.fullmatch(grammar.source, "".join(choices) + "x")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"guided_regex": "a", "grammar": 'root ::= "a"'}, "grammar", "both guided_regex and grammar"),
        ({"response_format": {"type": "json_object"}, "json_schema": {}}, "json_schema", "both"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice", "both"),
        ({"structured_outputs": {"whitespace_pattern": " "}}, "structured_outputs.whitespace_pattern", "leave it out"),
        ({"guided_json": "{"}, "guided_json", "not JSON"),
        ({"guided_json": "[" * 100_000}, "guided_json", "not JSON"),
        ({"guided_json": "[]"}, "guided_json", "is an object"),
        ({"guided_json": {"const": float("nan")}}, "guided_json", "a number"),
        ({"json_schema": {"const": "\ud800"}}, "json_schema", "surrogate"),
        ({"guided_regex": "a" * (MOST_SOURCE + 1)}, "guided_regex", "bytes are more"),
        ({"grammar": "root ::= b"}, "grammar", "refers to 'b'"),
        ({"guided_grammar": 'root ::= "a'}, "guided_grammar", "line 1"),
    ],
)
def test_errors_name_the_field(fields: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        GuidedFields(**fields).grammar()
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"guided_choice": []},
        {"guided_choice": [""]},
        {"guided_regex": ""},
        {"guided_regex": "\ud800"},
        {"response_format": {"type": "yaml"}},
    ],
)
def test_wrong_shapes_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GuidedFields(**fields)


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= " + '"a" | ' * 10_000 + '"b"',
        "root ::= a0\n" + "".join(f"a{i} ::= a{i + 1}\n" for i in range(3500)) + 'a3500 ::= "x"',
        "root ::= " + "[a]" * 20_000,
        "root ::= " + "(" * 60_000,
    ],
)
def test_the_largest_grammar_is_read_in_no_time(grammar: str) -> None:
    began = time.process_time()
    with suppress(RequestError):
        GuidedFields(grammar=grammar).grammar()
    assert time.process_time() - began < 1.0
