"""New inputs after the pattern of seeds."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.reporting import Reporter
from scripts.teaching.likeness import Known
from scripts.teaching.order import Order
from scripts.teaching.report import Report
from scripts.teaching.teach import teach
from server.errors import CupolaError, InvalidValue

from .teachers import Teacher, lines, read_lines

SUBJECTS = "bicycle thunder Lisbon marmalade quartz violin harbour algebra penguin candle orchard tractor".split()
SEEDS = [{"prompt": "Tell me about the moon."}, {"prompt": "Why is the sea salty?"}]


class Writer(Teacher):
    """Writes inputs, each new; or those it is given, again and again."""

    def __init__(self, always: list[Any] | None = None) -> None:
        self.number = itertools.count()
        self.always = always
        super().__init__(self.write)

    def write(self, request: str) -> str:
        if "new inputs" not in request:
            return f"re: {request[:40]}"
        pair = itertools.product(SUBJECTS, SUBJECTS)
        first, second = next(itertools.islice(pair, 7 * next(self.number) % 144, None))
        return json.dumps({"inputs": self.always or [{"prompt": f"{first} {second} {first}"}]})


def generated(folder: Path, teacher: Teacher, seeds: list[dict[str, Any]] = SEEDS, **fields: object) -> Report:
    prompts = lines(folder / "seeds.jsonl", seeds)
    order = {"prompts": prompts, "teachers": (teacher.at,), "concurrency": 1, **fields}
    return teach(Order.model_validate(order), folder / "out.jsonl", Reporter(None))


def test_new_inputs_are_answered_like_the_seeds(tmp_path: Path) -> None:
    with Writer() as teacher:
        report = generated(tmp_path, teacher, generate=6)
        again = generated(tmp_path, teacher, generate=6)
    inputs = read_lines(tmp_path / "out.inputs.jsonl")
    assert inputs[:2] == SEEDS
    assert len({line["prompt"] for line in inputs}) == 8
    assert (report.generated, report.prompts, report.accepted) == (6, 8, 8)
    assert (again.requests, again.generated) == (0, 6)
    assert "moon" in teacher.asked[0]
    assert inputs[2]["prompt"] in "".join(teacher.asked[4:8])  # later requests show what earlier ones wrote
    assert report.teachers[f"{teacher.at} (inputs)"].accepted == 6


def test_near_duplicates_and_broken_inputs_are_rejected_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    always = [{"prompt": "Tell me about the  MOON!"}, {"prompt": ""}, "text", {"prompt": "Count the bees."}]
    with Writer(always) as teacher:
        report = generated(tmp_path, teacher, generate=3)
    assert report.generated == 1
    assert "1 of 3 new inputs" in capsys.readouterr().out
    waves = 6  # the first writes something, the next five do not
    assert report.teachers[f"{teacher.at} (inputs)"].rejected == {
        "input: near-duplicate": 2 * 4 * waves - 1,
        "input: schema": 2 * 4 * waves,
    }


def test_fields_that_are_not_written_anew_are_a_seeds(tmp_path: Path) -> None:
    seeds = [
        {"text": "It broke at once.", "labels": ["praise", "complaint"]},
        {"text": "Where is my parcel?", "labels": ["question", "order"]},
    ]
    with Writer([{"text": "Nobody answers the phone."}]) as teacher:
        write = teacher.say
        teacher.say = lambda said: write(said) if "new inputs" in said else '{"label": "question"}'
        generated(tmp_path, teacher, seeds, task="classification", generate=1)
    new = read_lines(tmp_path / "out.inputs.jsonl")[2]
    assert new["text"] == "Nobody answers the phone."
    assert new["labels"] in [seed["labels"] for seed in seeds]
    assert "labels: praise, complaint" in teacher.asked[0] or "labels: question, order" in teacher.asked[0]


def test_no_inputs_of_conversations_that_are_under_way(tmp_path: Path) -> None:
    with Writer() as teacher, pytest.raises(InvalidValue, match="New inputs need seeds with prompt"):
        generated(tmp_path, teacher, [{"messages": [{"role": "user", "content": "hi"}]}], generate=1)


def test_what_cannot_be_written_stops_before_answers_are_paid_for(tmp_path: Path) -> None:
    with Writer() as teacher:
        teacher.say = lambda _: "no"
        report = generated(tmp_path, teacher, generate=2)
        assert report.rejected == {"input: no JSON": 20}
    with pytest.raises(CupolaError, match=r"wrote no inputs: no connection\. Run it again"):
        generated(tmp_path, teacher, generate=3, retries=0, new_at_once=2)


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("Tell me about the moon", False),
        ("TELL me... about the moon!?", False),
        ("Tell me about the moon now", False),
        ("Tell me about the tides and the winds", True),
        ("", True),
    ],
)
def test_likeness(text: str, new: bool) -> None:
    known = Known(0.7)
    assert known.add("Tell me about the moon.")
    assert known.add(text) is new
