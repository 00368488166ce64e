"""Requests about one table in plain English, and the SQL query that each one means.

    Table: boats(owner, length, price)
    How many boats have a length over 12?
    SELECT COUNT(*) FROM boats WHERE length > 12

Training and test share no table, no column, no value and no sentence template. For training a teacher writes the
queries; the right ones are known for the test alone, and nobody learns from those.
"""

import random
from dataclasses import dataclass

from ..examples import Example, Turn
from .table_words import NUMBERS, TABLES, TEXTS, WORDS

SYSTEM = (
    "Write the SQLite query for the request, in one line. Write nothing else. Choose the columns that are asked for."
)
# By split and query: how it is asked. {t} table, {n} {m} numbers, {x} text, {c} any column, {v} {k} values, {w} a word.
SAYINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "SELECT COUNT(*) FROM {t}": ("How many {t} are there?", "Count the {t}.", "Tell me the number of {t}."),
        "SELECT COUNT(*) FROM {t} WHERE {n} > {v}": (
            "How many {t} have a {n} over {v}?",
            "Count the {t} whose {n} is more than {v}.",
            "How many {t} are there with {n} greater than {v}?",
        ),
        "SELECT {x} FROM {t} WHERE {n} < {v}": (
            "List the {x} of all {t} with a {n} below {v}.",
            "What is the {x} of each of the {t} whose {n} is less than {v}?",
            "Give the {x} of {t} where {n} is under {v}.",
        ),
        "SELECT AVG({n}) FROM {t}": (
            "What is the average {n} of the {t}?",
            "Compute the mean {n} over all {t}.",
            "Average {n} of {t}, please.",
        ),
        "SELECT MAX({n}) FROM {t}": (
            "What is the highest {n} of all {t}?",
            "Find the largest {n} among the {t}.",
            "Tell me the maximum {n} of the {t}.",
        ),
        "SELECT * FROM {t} WHERE {x} = '{w}'": (
            "Show all columns of {t} whose {x} is {w}.",
            "Show everything about the {t} where {x} is {w}.",
            "All data of {t} with {x} equal to {w}.",
        ),
        "SELECT SUM({n}) FROM {t} WHERE {x} = '{w}'": (
            "What is the total {n} of {t} whose {x} is {w}?",
            "Add up the {n} of all {t} where {x} is {w}.",
            "Sum of {n} for {t} with {x} {w}.",
        ),
        "SELECT {x} FROM {t} ORDER BY {n} DESC LIMIT {k}": (
            "Give the {x} of the {k} {t} with the highest {n}.",
            "List the {x} of the top {k} {t} by {n}.",
            "Which {x} do the {k} {t} with the largest {n} have?",
        ),
    },
    "test": {
        "SELECT COUNT(*) FROM {t}": ("What is the number of {t}?", "How many {t} do we have?"),
        "SELECT COUNT(*) FROM {t} WHERE {n} > {v}": (
            "What is the number of {t} with a {n} above {v}?",
            "How many of the {t} have more than {v} as their {n}?",
        ),
        "SELECT {x} FROM {t} WHERE {n} < {v}": (
            "Show the {x} of {t} having a {n} lower than {v}.",
            "I need the {x} of every one of the {t} with {n} less than {v}.",
        ),
        "SELECT AVG({n}) FROM {t}": ("Show the average {n} of all {t}.", "What {n} do the {t} have on average?"),
        "SELECT MAX({n}) FROM {t}": ("Show the biggest {n} of the {t}.", "What is the maximum {n} in {t}?"),
        "SELECT * FROM {t} WHERE {x} = '{w}'": (
            "Give me all columns of the {t} with {w} as {x}.",
            "Find all {t} whose {x} equals {w}, with every column.",
        ),
        "SELECT SUM({n}) FROM {t} WHERE {x} = '{w}'": (
            "Show the sum of the {n} of all {t} whose {x} is {w}.",
            "What do the {n} values of {t} with {x} {w} add up to?",
        ),
        "SELECT {x} FROM {t} ORDER BY {n} DESC LIMIT {k}": (
            "Show the {x} of the {k} {t} that have the highest {n}.",
            "What is the {x} of the {k} {t} with the biggest {n}?",
        ),
    },
}


@dataclass(frozen=True, slots=True)
class Question:
    """A request and its query, in one split."""

    table: str
    request: str
    query: str

    @property
    def user(self) -> str:
        return f"Table: {self.table}\n{self.request}"

    @property
    def example(self) -> Example:
        turns = (Turn(role="system", content=SYSTEM), Turn(role="user", content=self.user))
        return Example((*turns, Turn(role="assistant", content=self.query)))

    @property
    def line(self) -> dict[str, str]:
        """What `teach` is given."""
        return {"table": self.table, "request": self.request}


def questions(split: str, count: int, seed: int = 0) -> list[Question]:
    """All different; every kind of query as often."""
    chance = random.Random(f"{split} {seed}")  # noqa: S311  # data, not secrets
    kinds = list(SAYINGS[split].items())
    found: dict[str, Question] = {}
    while len(found) < count:
        query, sayings = kinds[len(found) % len(kinds)]
        question = _question(split, query, chance.choice(sayings), chance)
        found.setdefault(question.user, question)
    return list(found.values())


def _question(split: str, query: str, saying: str, chance: random.Random) -> Question:
    table = chance.choice(TABLES[split])
    numbers, texts = chance.sample(NUMBERS[split], 2), chance.sample(TEXTS[split], 2)
    columns = [*numbers, *texts]
    chance.shuffle(columns)
    fields = {"t": table, "n": numbers[0], "x": texts[0], "w": chance.choice(WORDS[split])}
    fields |= {"v": str(chance.choice((5, 10, 12, 20, 30, 45, 50, 75, 100, 150, 200, 250, 400, 500, 1000, 2500)))}
    fields |= {"k": str(chance.randint(2, 10))}
    return Question(f"{table}({', '.join(columns)})", saying.format(**fields), query.format(**fields))
