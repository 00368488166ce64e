"""Which answers are kept: by votes, by a judge."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.examples import read
from scripts.reporting import Reporter
from scripts.teaching.journal import Reply
from scripts.teaching.judging import grade_of
from scripts.teaching.order import Order
from scripts.teaching.prompts import prompts_of
from scripts.teaching.teach import teach
from scripts.teaching.voting import elect
from server.errors import CupolaError

from .teachers import Failure, Teacher, lines, read_lines

ONE = ("http://a#m",)
TWO = (*ONE, "http://b#m")
PROMPT = prompts_of([{"prompt": "?"}], None)[0]


@pytest.mark.parametrize(
    ("answers", "fields", "kept", "reasons"),
    [
        ("x y y", {}, ["y"], ["outvoted"]),
        ("x y", {}, ["x"], ["outvoted"]),
        ("x y", {"teachers": TWO}, [], ["tie", "tie"]),
        ("x X", {"teachers": TWO}, ["x"], []),
        ("x y z y", {"agreement": 0.6}, [], ["no agreement"] * 4),
        ("x y z y", {"agreement": 0.5}, ["y"], ["outvoted"] * 2),
        ("x long-answer x", {"longest": 5}, ["x"], ["too long"]),
        ("x yy yy", {"longest": 1, "agreement": 0.5}, [], ["too long"] * 2 + ["no agreement"]),
        ("x y x", {"keep": "all"}, ["x", "y"], []),
        ("x y", {"judge": {}, "teachers": TWO}, ["x", "y"], []),
    ],
)
def test_an_election(answers: str, fields: dict[str, Any], kept: list[str], reasons: list[str]) -> None:
    order = Order.model_validate({"prompts": "unused", "teachers": ONE, **fields})
    replies = [Reply(str(at), "http://a#m", text) for at, text in enumerate(answers.split())]
    vote = elect(PROMPT, replies, None, order)
    assert [party.replies[0].text for party in vote.chosen] == kept
    assert [lost.reason for lost in vote.rejected] == reasons


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        ('{"reason": "Good.", "grade": 4}', 4),
        ('{"reason": "Good.", "grade": 9}', None),
        ("The 2 facts are right.\nGrade: 4/5", 4),
        ("3 out of 5.", 3),
        ("I cannot say.", None),
        ("45 or 0.5", None),
        ("7", None),
    ],
)
def test_the_grade_in_what_a_judge_says(said: str, grade: int | None) -> None:
    assert grade_of(said) == grade


def graded(grades: dict[str, int | str]) -> Teacher:
    """A judge that knows grades by answer."""

    def say(request: str) -> str:
        answer = request.partition("Answer:\n")[2].partition("\n")[0]
        grade = grades[answer]
        return grade if isinstance(grade, str) else json.dumps({"reason": "So.", "grade": grade})

    return Teacher(say)


def test_a_judge_rejects_what_is_below_the_threshold(tmp_path: Path) -> None:
    prompts = lines(tmp_path / "p.jsonl", [{"prompt": word} for word in "abc"])
    with Teacher("re: {}".format) as teacher, graded({"re: a": 4, "re: b": 3, "re: c": "no idea"}) as judge:
        told = {"teacher": judge.at, "threshold": 4}
        order = Order.model_validate({"prompts": prompts, "teachers": (teacher.at,), "judge": told, "price": (1, 1)})
        report = teach(order, tmp_path / "out.jsonl", Reporter(None))
        again = teach(order, tmp_path / "out.jsonl", Reporter(None))
    (example,) = read(tmp_path / "out.jsonl")
    assert (example.answer, example.meta["grade"]) == ("re: a", 4)
    assert report.rejected == {"low grade": 1, "judge gave no grade": 1}
    assert (report.requests, again.requests) == (6, 0)
    assert report.teachers[f"{judge.at} (judge)"].requests == 3
    assert report.cost == pytest.approx(6 * 15 / 1e6)
    assert judge.bodies[0]["temperature"] == 0
    assert {line["text"] for line in read_lines(tmp_path / "out.rejected.jsonl")} == {"re: b", "re: c"}


def test_a_judge_decides_a_tie_of_teachers(tmp_path: Path) -> None:
    prompts = lines(tmp_path / "p.jsonl", [{"prompt": "a"}])
    with Teacher("one {}".format) as one, Teacher("two {}".format) as two, graded({"one a": 4, "two a": 5}) as judge:
        fields = {"prompts": prompts, "teachers": (one.at, two.at), "judge": {"teacher": judge.at}}
        report = teach(Order.model_validate(fields), tmp_path / "out.jsonl", Reporter(None))
    assert read(tmp_path / "out.jsonl")[0].answer == "two a"
    assert report.rejected == {"another was graded higher": 1}


def test_a_judge_that_is_away_is_asked_by_the_next_run(tmp_path: Path) -> None:
    prompts = lines(tmp_path / "p.jsonl", [{"prompt": "a"}])
    with Teacher("re: {}".format) as teacher, graded({"re: a": 5}) as judge:
        fields = {"prompts": prompts, "teachers": (teacher.at,), "judge": {"teacher": judge.at}, "retries": 0}
        order = Order.model_validate(fields)
        judge.answer, answer = lambda *_: Failure(500), judge.answer  # type: ignore[method-assign]
        with pytest.raises(CupolaError, match="'judge: status 500': 1"):
            teach(order, tmp_path / "out.jsonl", Reporter(None))
        judge.answer = answer  # type: ignore[method-assign]
        assert teach(order, tmp_path / "out.jsonl", Reporter(None)).accepted == 1
    assert len(teacher.asked) == 1
