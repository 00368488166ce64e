"""Tasks: what the teacher is asked, which answers pass, and what the student sees of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.examples import read
from scripts.reporting import Reporter
from scripts.teaching.answers import Unusable, check
from scripts.teaching.journal import Reply
from scripts.teaching.order import Order
from scripts.teaching.prompts import prompts_of, read_fields
from scripts.teaching.task import FOLDER, Task, find
from scripts.teaching.teach import teach
from server.errors import InvalidValue

from .teachers import Teacher, lines

TEXT = "Ada Lovelace was born in London on 10 December 1815, and wrote the first programme."
INPUTS: dict[str, dict[str, Any]] = {
    "nli": {"premise": "Two dogs run.", "hypothesis": "Animals move."},
    "conversation": {"topic": "sourdough"},
    "qa": {"context": TEXT, "question": "Where was she born?"},
    "maths": {"problem": "Tom has 3 apples and buys 4."},
    "summarisation": {"text": TEXT},
    "classification": {"text": "It broke at once.", "labels": ["praise", "complaint"]},
    "extraction": {"text": TEXT},
}
NOBODY: dict[str, list[str]] = {"people": [], "organisations": [], "places": [], "dates": []}
TURNS = [{"user": "How?", "assistant": "I'm sorry, flour."}, {"user": "And?", "assistant": "Water."}]
GOOD: dict[str, tuple[str | dict[str, Any], str, str | None]] = {
    "nli": ({"reason": "Dogs are animals.", "label": "entailment"}, "entailment", "entailment"),
    "conversation": ({"turns": TURNS}, "Water.", None),
    "qa": ({"answer": "london"}, "london", None),
    "maths": ("3 + 4 = 7\n**Answer: 1,007.50**", "3 + 4 = 7\n**Answer: 1,007.50**", "1,007.50"),
    "summarisation": ("She wrote the first programme.", "She wrote the first programme.", None),
    "classification": ({"label": "complaint"}, "complaint", "complaint"),
    "extraction": (NOBODY | {"places": ["London"]}, json.dumps(NOBODY | {"places": ["London"]}), None),
}
BAD: list[tuple[str, str | dict[str, Any], str]] = [
    ("nli", {"reason": "x", "label": "maybe"}, "schema"),
    ("nli", "entailment", "no JSON"),
    ("nli", "[" * 100_000, "no JSON"),
    ("qa", '{"answer": "\\ud800"}', "no JSON"),
    ("nli", '["entailment"]', "schema"),
    ("conversation", {"turns": TURNS[:1]}, "schema"),
    ("conversation", {"turns": [*TURNS, {"user": " ", "assistant": "x"}]}, "empty turn"),
    ("qa", {"answer": "Paris"}, "not in the input"),
    ("qa", {"answer": "  "}, "too short"),
    ("qa", {"answer": "I'm sorry, I do not know."}, "refusal"),
    ("maths", "It is seven.", "pattern"),
    ("maths", "Answer: 1/2", "pattern"),
    ("maths", "Answer: 3 + 4 = 7", "pattern"),
    ("summarisation", TEXT + TEXT, "not shorter"),
    ("summarisation", "Short.", "too short"),
    ("summarisation", "I can't help with that request.", "refusal"),
    ("classification", {"label": "other"}, "schema"),
    ("extraction", NOBODY | {"people": ["Alan Turing"]}, "not in the input"),
]


def checked(name: str, said: str | dict[str, Any], **fields: Any) -> Any:
    """What the student would learn of an answer."""
    task = find(name)[1]
    text = said if isinstance(said, str) else json.dumps(said)
    order = Order(prompts=Path("unused"), **fields)
    return check(Reply("key", "m", text), prompts_of([INPUTS[name]], task)[0], task, order)


def test_every_task_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(GOOD) == set(INPUTS)


@pytest.mark.parametrize("name", GOOD)
def test_what_a_good_answer_becomes(name: str) -> None:
    said, answer, label = GOOD[name]
    usable = checked(name, said)
    told = usable.turns[-1].content
    assert (json.loads(told) if name == "extraction" else told) == (
        json.loads(answer) if name == "extraction" else answer
    )
    assert usable.label == label
    assert [turn.role for turn in usable.turns][:2] == ["system", "user"]
    assert "{" not in "".join(turn.content for turn in usable.turns[:-1])


@pytest.mark.parametrize(("name", "said", "reason"), BAD)
def test_what_a_bad_answer_is_rejected_for(name: str, said: str | dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as error:
        checked(name, said)
    assert error.value.reason == reason


def test_a_field_that_the_schema_does_not_require_may_be_missing(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text('user: "{a}"\nanswer: {json_schema: {properties: {kind: {type: string}}}, label: kind}')
    task = find(str(own))[1]
    prompt = prompts_of([{"a": "x"}], task)[0]
    with pytest.raises(Unusable, match="schema"):
        check(Reply("k", "m", "{}"), prompt, task, Order(prompts=Path("unused")))
    assert check(Reply("k", "m", '{"kind": "b"}'), prompt, task, Order(prompts=Path("unused"))).label == "b"


def test_a_fence_without_an_end_is_no_json() -> None:
    with pytest.raises(Unusable, match="no JSON"):
        checked("qa", "```" + "\n" * 100_000)


def test_a_fence_around_json_makes_no_difference() -> None:
    assert checked("qa", '```json\n{"answer": "London"}\n```').turns[-1].content == "London"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("Answer: -5", "-5"),
        ("### The final answer is 12 apples.", "12"),
        ("answer: 0.50", "0.50"),
        ("**Answer:** 7", "7"),
    ],
)
def test_the_number_of_a_solution_is_its_label(line: str, number: str) -> None:
    assert checked("maths", f"Answer: 99\nNo, wait.\n{line}\n").label == number


def test_numbers_agree_however_they_are_written() -> None:
    votes = {checked("maths", f"so\nAnswer: {number}").vote for number in ("1,200", "1200.0", "$1200")}
    assert votes == {"1200"}


@pytest.mark.parametrize(
    "said", ["This text says that I can't help it. It is long.", "Sorry is the word of this text."]
)
def test_a_refusal_begins_the_answer(said: str) -> None:
    assert checked("summarisation", said).turns[-1].content == said


@pytest.mark.parametrize("name", ["qa", "classification"])
def test_the_schema_is_sent_under_the_tasks_name(name: str, tmp_path: Path) -> None:
    inputs = lines(tmp_path / "inputs.jsonl", [INPUTS[name]])
    with Teacher(lambda _: json.dumps(GOOD[name][0])) as teacher:
        order = Order.model_validate({"prompts": inputs, "teachers": (teacher.at,), "task": name})
        teach(order, tmp_path / "out.jsonl", Reporter(None))
        plain = teach(order.model_copy(update={"structured": False}), tmp_path / "out.jsonl", Reporter(None))
    sent = teacher.bodies[0]["response_format"]["json_schema"]
    assert sent["name"] == name
    if name == "classification":
        assert sent["schema"]["properties"]["label"] == {"enum": ["praise", "complaint"]}
    assert plain.requests == 1
    assert "response_format" not in teacher.bodies[1]
    example = read(tmp_path / "out.jsonl")[0]
    assert (example.answer, example.label, example.meta["task"]) == (*GOOD[name][1:], name)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"premise": "x"}, r"line 2: the task needs a field 'hypothesis', and the line has premise"),
        ({"premise": "x", "hypothesis": " "}, r"line 2: the field 'hypothesis' has to be a text"),
        ({"premise": {"a": 1}, "hypothesis": "x"}, r"line 2: the field 'premise' has to be"),
    ],
)
def test_a_line_without_a_field_is_named(line: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        read_fields(lines(tmp_path / "i.jsonl", [INPUTS["nli"], line]), find("nli")[1])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "line 1 is no JSON"),
        ("[1]", "line 1: it is no JSON object"),
        ('{"text": "x"}', 'line 1: it needs "prompt"'),
        ('{"prompt": ""}', "line 1: the prompt has to be a text"),
        ('{"messages": []}', "line 1: the last message has to be the user's"),
        ("\n \n", "holds no prompt"),
        ("\udcff", "line 1 is no JSON"),
    ],
)
def test_a_bad_line_without_a_task_is_named(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidValue, match=complaint):
        read_fields(path, None)


@pytest.mark.parametrize("name", ["nothing", "../tasks/nli", "missing.yaml"])
def test_an_unknown_task_lists_the_known(name: str) -> None:
    with pytest.raises(InvalidValue, match=r"There is no task .* Known: classification, conversation"):
        find(name)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("system: x", "user: Field required"),
        ('user: "{a}"\nanswer: {json_schema: {type: objekt}}', "answer.json_schema: .*objekt"),
        ('user: "{a}"\nanswer: {json_schema: {$ref: "http://a/b"}}', r"a \$ref may lead to a place in the schema"),
        ('user: "{a}"\nanswer: {label: kind}', "an answer has no field kind"),
        ('user: "{a}"\nanswer: {extract: "("}', "no regular expression"),
        ('user: "{a}"\ngenerate: {fields: [b]}', "does not use"),
        ('user: "{a}"\nanswers: {}', "answers: there is no such field .did you mean answer"),
    ],
)
def test_a_bad_task_says_what_is_wrong(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(InvalidValue, match=complaint):
        find(str(path))


def test_braces_that_are_no_field_are_text() -> None:
    task = Task(user='Say {"a": {}} of {thing}.')
    assert task.fields == {"thing"}
    assert prompts_of([{"thing": "{x}"}], task)[0].messages[0].content == 'Say {"a": {}} of {x}.'
