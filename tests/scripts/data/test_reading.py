import json
from pathlib import Path
from typing import Any

import pytest

from scripts.data.order import Order
from scripts.data.reading import Reader
from scripts.data.row import Bad
from scripts.examples import Example
from server.errors import InvalidValue

QUESTION = [("user", "What is 2 + 2?"), ("assistant", "4")]


def read(tmp_path: Path, lines: list[Any], **told: Any) -> list[Example | Bad]:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return [line.content for line in Reader(Order(sources=(path,), **told)).lines(path)]


def said(example: Example | Bad) -> list[tuple[str, str]]:
    assert isinstance(example, Example), example
    return [(turn.role, turn.content) for turn in example.messages]


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [{"role": role, "content": text} for role, text in QUESTION]},
        {"messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in QUESTION]},
        {"messages": json.dumps([{"role": role, "content": text} for role, text in QUESTION])},
        {"conversations": [{"from": "human", "value": QUESTION[0][1]}, {"from": "gpt", "value": "4"}]},
        {"prompt": "What is 2 + 2?", "completion": "4"},
        {
            "prompt": [{"role": "user", "content": "What is 2 + 2?"}],
            "completion": [{"role": "assistant", "content": "4"}],
        },
        {"instruction": "What is 2 + 2?", "input": "", "output": "4"},
        {"question": "What is 2 + 2?", "answer": 4, "id": 7},
        {"input": "What is 2 + 2?", "output": "4"},
    ],
)
def test_known_shapes_are_recognised(tmp_path: Path, line: dict[str, Any]) -> None:
    assert said(read(tmp_path, [line])[0]) == QUESTION


def test_an_alpaca_input_follows_its_instruction(tmp_path: Path) -> None:
    found = read(tmp_path, [{"instruction": "Add.", "input": "2 and 2", "output": "4"}])
    assert said(found[0])[0] == ("user", "Add.\n\n2 and 2")


def test_an_answer_that_is_an_object_becomes_compact_json(tmp_path: Path) -> None:
    found = read(tmp_path, [{"input": "on", "output": {"action": "on", "room": "hall"}}])
    assert said(found[0])[-1] == ("assistant", '{"action":"on","room":"hall"}')


def test_fields_and_a_template_of_the_users_own(tmp_path: Path) -> None:
    line = {"body": "My {box} is late", "from": "Ann", "team": "post", "kind": "late"}
    template = "{from} writes {{so}}: {input}"
    told = {"input": "body", "output": "team", "template": template, "system": "Sort.", "label": "kind"}
    found = read(tmp_path, [line], **told)[0]
    assert said(found) == [("system", "Sort."), ("user", "Ann writes {so}: My {box} is late"), ("assistant", "post")]
    assert isinstance(found, Example)
    assert found.label == "late"
    plain = read(tmp_path, [line], template="{from}: {body}")[0]
    assert isinstance(plain, Example)
    assert (plain.text, plain.messages) == ("Ann: My {box} is late", ())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"question": "q"}, "the fields question are no known shape"),
        ({"question": "q", "answer": " "}, "field 'answer' is empty"),
        ({"question": None, "answer": "a"}, "field 'question' is missing"),
        ({"messages": []}, "the conversation is no list of messages"),
        ({"messages": "[{"}, "the conversation is no JSON: Input data was truncated"),
        ({"messages": [{"content": "a"}]}, "message 1 has no field 'role'"),
        (
            {"messages": [{"role": "tool", "content": "a"}]},
            "message 1 has the role 'tool'; known are system, user, assistant",
        ),
        ({"messages": [{"role": "user", "content": 3}]}, "message 1 has no text in 'content'"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
            "message 2 is the system's, which has to be the first",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}]},
            "the last message has to be the assistant's, after at least one other",
        ),
    ],
)
def test_a_line_that_is_no_example_says_why(tmp_path: Path, line: dict[str, Any], reason: str) -> None:
    good, bad = read(tmp_path, [{"question": "q", "answer": "a"}, line])
    assert isinstance(good, Example)
    assert isinstance(bad, Bad)
    assert bad.reason == reason


def test_text_that_is_not_utf_8_is_no_example(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(b"question,answer\nwhere,caf\xe9\n")
    (found,) = Reader(Order(sources=(path,))).lines(path)
    assert isinstance(found.content, Bad)
    assert found.content.kind == "not Unicode"


def test_unknown_fields_are_said_with_the_known_shapes(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(tmp_path, [{"frage": "q", "antwort": "a"}])
    assert (
        "the fields found are frage, antwort, which is no known shape (messages; conversations;" in caught.value.message
    )
    assert "instruction/output/input; prompt/completion; question/answer; input/output; text)" in caught.value.message
    with pytest.raises(InvalidValue, match="no line has the fields 'q', 'a'; found are frage, antwort"):
        read(tmp_path, [{"frage": "q", "antwort": "a"}], input="q", output="a")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"output": "a"}, "--output says where the answer is; name the question too"),
        ({"input": "q"}, "--input says where the question is; name the answer too"),
        ({"template": "no field", "output": "a"}, "--template names no field"),
        ({"template": "{a!r}", "output": "a"}, "braces hold the name of a field and nothing else"),
        ({"template": "{a", "output": "a"}, "a brace of the text itself is written twice"),
    ],
)
def test_a_description_that_says_too_little_is_refused(tmp_path: Path, told: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        read(tmp_path, [{"a": "1"}], **told)


def test_lines_of_blanks_only_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "blank.jsonl"
    path.write_text("\n \n", "utf-8")
    with pytest.raises(InvalidValue, match="holds no example"):
        list(Reader(Order(sources=(path,))).lines(path))
