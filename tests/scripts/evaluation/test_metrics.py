import math
import random

import numpy as np
import pytest
from sacrebleu import corpus_bleu
from sklearn.metrics import precision_recall_fscore_support  # type: ignore[import-untyped]

from scripts.evaluation.measures import by_class
from scripts.evaluation.metrics import (
    MEANS,
    bleu,
    classes,
    classified,
    exact_json,
    exact_spaces,
    exact_words,
    follows,
    json_valid,
    perplexity,
)
from scripts.evaluation.statistics import observed


@pytest.mark.parametrize(
    ("answer", "wanted", "spaces", "equal", "valid"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', 0, 1, 1),
        ('{"a":\n1}', '{"a": 1}', 1, 1, 1),
        ('{"a": 1.0}', '{"a": 1}', 0, 1, 1),
        ("true", "1", 0, 0, 1),
        ("NaN", "NaN", 1, 0, 0),
        (" a  b ", "a b", 1, 0, 0),
        ("[" * 100_000, "[]", 0, 0, 0),
    ],
)
def test_matches(answer: str, wanted: str, spaces: float, equal: float, valid: float) -> None:
    assert exact_spaces(answer, wanted) == spaces
    assert exact_json(answer, wanted) == equal
    assert json_valid(answer, wanted) == valid


def test_overlap_by_hand() -> None:
    answer, wanted = "the cat sat", "the cat lay down"  # 2 of 3 and 2 of 4 words; 1 of 2 and 1 of 3 pairs
    assert MEANS["rouge1"](answer, wanted) == pytest.approx(4 / 7)
    assert MEANS["rouge2"](answer, wanted) == pytest.approx(2 / 5)
    assert MEANS["rougeL"](answer, wanted) == pytest.approx(4 / 7)


def test_bleu_is_of_the_corpus() -> None:
    answers, wanted = ["a b c d e", "the cat sat on a mat", ""], ["a b c d f", "the cat sat on the mat", "x y"]
    found = bleu(answers, wanted)
    assert observed(found) == pytest.approx(corpus_bleu(answers, [wanted]).score / 100)
    twice = found.of(np.array([[0, 0, 1]]))[0]
    again = corpus_bleu([answers[n] for n in (0, 0, 1)], [[wanted[n] for n in (0, 0, 1)]])
    assert twice == pytest.approx(again.score / 100)


def test_perplexity_weighs_tokens() -> None:
    assert observed(perplexity([1.0, 8.0], [1, 8])) == pytest.approx(math.e)
    assert observed(perplexity([0.0, 3.0], [2, 1])) == pytest.approx(math.e)


def test_classes_are_those_of_scikit_learn() -> None:
    draw = random.Random(0)
    wanted = [draw.choice("abc") for _ in range(60)]
    guessed = [draw.choice([one, one, "a", "nonsense"]) for one in wanted]
    ours = {name: observed(one) for name, one in classified(guessed, wanted).items()}
    theirs = precision_recall_fscore_support(wanted, guessed, labels=list("abc"), average="macro", zero_division=0)
    assert (ours["precision"], ours["recall"], ours["f1"]) == pytest.approx(theirs[:3])
    assert ours["accuracy"] == sum(a == b for a, b in zip(guessed, wanted, strict=True)) / 60
    each = by_class(guessed, wanted)
    assert list(each) == ["a", "b", "c"]
    assert each["b"].n == wanted.count("b")
    assert each["b"].precision == 1.0


def test_classes_are_a_field() -> None:
    answers, wanted = ['{"action": "on"}', "on", '{"action": 1}'], ['{"action":"on","x":1}'] * 2 + ['{"action": 1.0}']
    assert classes(answers, wanted, "action") == (["on", "", "1"], ["on", "on", "1"])


def test_a_schema_is_followed() -> None:
    measure = follows({"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]})
    assert [measure(text, "") for text in ('{"a": 1}', '{"a": 2}', "{", "NaN")] == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("select count(*)\nFROM boats;", 1),
        ("SELECT  COUNT(*) FROM Boats . ", 1),
        ("`SELECT COUNT(*) FROM boats`", 0),
        ("SELECT COUNT(*) FROM boats?", 0),
        (";SELECT COUNT(*) FROM boats", 0),
        ("SELECT COUNT(*) FROM boat", 0),
        ("The query is: SELECT COUNT(*) FROM boats", 0),
        ("", 0),
    ],
)
def test_words_alone(answer: str, same: float) -> None:
    assert exact_words(answer, "SELECT COUNT(*) FROM boats") == same


def test_a_query_with_an_open_quotation_is_another() -> None:
    assert not exact_words("SELECT id FROM dogs WHERE owner = 'Ada", "SELECT id FROM dogs WHERE owner = 'Ada'")
