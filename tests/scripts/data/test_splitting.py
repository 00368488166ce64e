from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.data.components import Components
from scripts.data.order import Shares
from scripts.data.splitting import Decisive, divide, place
from scripts.data.store import digest
from server.errors import InvalidValue

SHARES = Shares()


def many(count: int, label: str | None = None, start: int = 0) -> list[Decisive]:
    return [Decisive(digest(str(number)), label, None) for number in range(start, start + count)]


def alone(examples: list[Decisive]) -> list[list[int]]:
    return [[number] for number, example in enumerate(examples) if example.given is None]


@given(seed=st.integers(0, 2**32 - 1), more=st.integers(0, 200), before=st.booleans())
def test_more_examples_move_none_of_those_before(seed: int, more: int, before: bool) -> None:
    old, new = many(300), many(more, start=1000)
    both = [*new, *old] if before else [*old, *new]
    first = divide(old, alone(old), SHARES, seed).splits
    second = divide(both, alone(both), SHARES, seed).splits
    assert first == (second[more:] if before else second[:300])


def test_shares_and_labels_are_kept() -> None:
    examples = [*many(4000, "a"), *many(800, "b", 4000), *many(30, "c", 4800)]
    splits = divide(examples, alone(examples), SHARES, 0).splits
    for label, count in (("a", 4000), ("b", 800)):
        found = Counter(split for split, one in zip(splits, examples, strict=True) if one.label == label)
        assert found["train"] / count == pytest.approx(0.8, abs=0.03)
        assert found["test"] / count == pytest.approx(0.1, abs=0.03)
    rare = {split for split, one in zip(splits, examples, strict=True) if one.label == "c"}
    assert rare == {"train", "validation", "test"}


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["a", "b", "c", None])), min_size=3), st.integers(0, 50))
def test_units_stay_together_and_labels_are_learned(drawn: list[tuple[int, str | None]], seed: int) -> None:
    """`drawn`: the unit and the label of each example."""
    examples = [Decisive(digest(str(number)), label, None) for number, (_, label) in enumerate(drawn)]
    units: dict[int, list[int]] = {}
    for number, (unit, _) in enumerate(drawn):
        units.setdefault(unit, []).append(number)
    try:
        splits = divide(examples, list(units.values()), SHARES, seed).splits
    except InvalidValue as error:
        assert "leave none for" in error.message  # noqa: PT017  # both outcomes are right
        assert len(units) < 20
        return
    assert all(len({splits[number] for number in unit}) == 1 for unit in units.values())
    learned = {one.label for one, split in zip(examples, splits, strict=True) if split == "train"}
    assert learned == {one.label for one in examples}
    assert set(splits) == {"train", "validation", "test"}


def test_a_unit_whose_hashes_disagree_goes_to_train() -> None:
    examples = many(200)
    measured = [number for number, one in enumerate(examples) if place(one.key, SHARES, 0) == "test"]
    learned = next(number for number, one in enumerate(examples) if place(one.key, SHARES, 0) == "train")
    units = [[measured[0], learned], *([n] for n in range(200) if n not in {measured[0], learned})]
    made = divide(examples, units, SHARES, 0)
    assert made.splits[measured[0]] == "train"
    assert made.splits[measured[1]] == "test"
    assert made.moved["together"] == 1


def test_a_given_split_takes_no_share() -> None:
    examples = [*many(300), *(Decisive(digest("t", str(number)), None, "test") for number in range(5))]
    splits = divide(examples, alone(examples), SHARES, 0).splits
    assert splits[300:] == ["test"] * 5
    assert "test" not in splits[:300]
    without = divide(examples[:300], alone(examples[:300]), SHARES, 0).splits
    assert [split if split != "test" else "train" for split in without] == splits[:300]


def test_a_label_of_a_given_test_split_alone_is_an_error() -> None:
    examples = [*many(30, "a"), Decisive(b"x", "b", "test")]
    with pytest.raises(InvalidValue, match="seen only in the test split cannot be learned: 'b'; add examples of them"):
        divide(examples, alone(examples), SHARES, 0)


def test_too_few_examples_and_labels_that_are_no_classes_are_errors() -> None:
    with pytest.raises(InvalidValue, match=r"2 examples in 2 units .* leave none for test"):
        divide(many(2), [[0], [1]], SHARES, 0)
    assert divide(many(2), [[0], [1]], Shares(validation=0, test=0), 0).splits == ["train", "train"]
    texts = [Decisive(digest(str(number)), str(number), None) for number in range(60)]
    with pytest.raises(InvalidValue, match="60 examples have 60 different labels, which are no classes"):
        divide(texts, alone(texts), SHARES, 0)


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29))))
def test_components_are_those_of_the_graph(edges: list[tuple[int, int]]) -> None:
    found, parts = Components(), [{number} for number in range(30)]
    for _ in range(30):
        found.add()
    for one, other in edges:
        found.join(one, other)
        whole = parts[one] | parts[other]
        for number in whole:
            parts[number] = whole
    assert [found.root(number) for number in range(30)] == [min(part) for part in parts]
