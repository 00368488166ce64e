"""The data of the worked distillation."""

import sqlite3
from pathlib import Path

import pytest
import yaml

from scripts.teaching.task import find
from scripts.worked.table_queries import SAYINGS, SYSTEM, questions
from scripts.worked.table_words import NUMBERS, TABLES, TEXTS, WORDS

RECIPES = Path(__file__).parents[3] / "scripts" / "recipes"


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_query_runs_on_the_table_it_is_about(split: str) -> None:
    asked = questions(split, 200)
    assert len({question.user for question in asked}) == 200
    for question in asked:
        database = sqlite3.connect(":memory:")
        database.execute(f"CREATE TABLE {question.table}")
        database.execute(question.query)
        database.close()


def test_what_is_measured_was_not_seen() -> None:
    for words in (TABLES, NUMBERS, TEXTS, WORDS):
        assert not set(words["train"]) & set(words["test"])
    sayings = {split: {one for said in SAYINGS[split].values() for one in said} for split in SAYINGS}
    assert not sayings["train"] & sayings["test"]
    assert questions("train", 50) == questions("train", 50)
    assert questions("train", 50) != questions("train", 50, seed=1)


def test_the_student_is_asked_as_the_teacher_was() -> None:
    _, task = find(str(RECIPES / "table-queries-task.yaml"))
    question = questions("test", 1)[0]
    assert task.system == SYSTEM == question.example.messages[0].content
    assert task.user.format(**question.line) == question.user
    assert yaml.safe_load((RECIPES / "table-queries.yaml").read_text())["base"] == "smollm2"
