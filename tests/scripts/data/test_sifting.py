from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.data.lengths import Length
from scripts.data.near import Neighbours, similarity
from scripts.data.sifting import Sieve
from scripts.data.store import Store
from scripts.examples import Example, Turn

LONG = "Please tell me in which room of the old house by the river the brass lantern of my grandmother stands"
WORDS = "kitchen garden cellar attic lantern heater blinds radio".split()


def example(question: str, answer: str, label: str | None = None, system: str = "") -> Example:
    before = (Turn("system", system),) if system else ()
    return Example((*before, Turn("user", question), Turn("assistant", answer)), label=label)


def sifted(folder: Path, *taken: tuple[Example, str | None], group: str = "", near: float | None = 0.85) -> Sieve:
    """The sieve, after examples with the split each is given in."""
    with Store(folder / "examples") as store:
        sieve = Sieve(store, near, 0)
        for one, split in taken:
            sieve.take(one, group, split, Length(1, 1))
        sieve.left = len(store)  # type: ignore[attr-defined]
    return sieve


def test_exact_and_near_duplicates_are_left_out_and_counted(tmp_path: Path) -> None:
    taken = [(LONG, "attic"), (LONG, "attic"), (f"{LONG.upper()}?", "attic"), ("Where is the radio?", "attic")]
    sieve = sifted(tmp_path, *((example(*one), None) for one in taken))
    assert (sieve.sifted.exact, sieve.sifted.near) == (1, 1)
    off = sifted(tmp_path, *((example(*one), None) for one in taken), near=None)
    assert (off.sifted.exact, off.sifted.near) == (1, 0)


def test_a_near_question_with_another_answer_or_label_stays_beside_its_neighbour(tmp_path: Path) -> None:
    taken = [example(LONG, "attic", "a"), example(f"{LONG}?", "cellar", "a"), example(f"{LONG}!", "attic", "b")]
    sieve = sifted(tmp_path, *((one, None) for one in taken), (example("And the radio?", "attic", "a"), None))
    assert sieve.sifted.near == 0
    assert [sieve.together.root(number) for number in range(4)] == [0, 0, 0, 3]


def test_the_systems_message_makes_nothing_alike(tmp_path: Path) -> None:
    pairs = [(f"Where is the {word}?", f"In the {word} room") for word in WORDS]
    sieve = sifted(tmp_path, *((example(*pair, system=LONG), None) for pair in pairs))
    assert sieve.sifted.near == 0
    assert len({sieve.together.root(number) for number in range(len(pairs))}) == len(pairs)


def test_one_prompt_with_two_answers_stays_together(tmp_path: Path) -> None:
    sieve = sifted(tmp_path, (example("Why?", "So."), None), (example(" why? ", "Because of it."), None))
    assert sieve.sifted.same_prompt == 1
    assert sieve.together.root(1) == 0


def test_what_a_given_split_holds_is_dropped_elsewhere(tmp_path: Path) -> None:
    given = [(example(LONG, "attic"), "test"), (example(LONG, "attic"), "test"), (example("Why?", "So."), "validation")]
    pool = [example(LONG, "attic"), example(f"{LONG}?", "cellar"), example("why?", "No."), example("Who is it?", "Ann")]
    sieve = sifted(tmp_path, *given, (example(LONG, "garden"), "validation"), *((one, None) for one in pool))
    assert sieve.sifted.leaked == {"exact": 3, "near": 1, "group": 0}
    assert sieve.sifted.in_given == 1
    assert sieve.left == 4  # type: ignore[attr-defined]  # test twice, validation, and Ann


def test_a_group_of_a_given_split_is_dropped_elsewhere_and_others_stay_together(tmp_path: Path) -> None:
    taken = [example(f"Where is the {word}?", word) for word in WORDS]
    sieve = sifted(tmp_path, (taken[0], "test"), *((one, None) for one in taken[1:]), group="house")
    assert sieve.sifted.leaked["group"] == len(taken) - 1
    alone = sifted(tmp_path, *((one, None) for one in taken), group="house")
    assert {alone.together.root(number) for number in range(len(taken))} == {0}


sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join)


@given(first=sentences, second=sentences)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
def test_neighbours_are_those_of_the_true_similarity(first: str, second: str) -> None:
    """The estimate is five of its standard deviations away from the threshold."""
    index = Neighbours(0.7, 0)
    index.add(0, index.signature(first))
    found, true = index.near(index.signature(second)), similarity(first, second)
    if true > 0.95:
        assert found == [0]
    if true < 0.5:
        assert found == []


def test_scripts_without_spaces_and_texts_without_words_are_compared() -> None:
    assert similarity("今日は天気がいいですね", "今日は天気がいいですよ") > 0.6
    assert similarity("今日は天気がいいですね", "昨日の会議") < 0.3
    assert similarity("1 + 1", "1 - 1") < 1
    assert similarity("", "") == 1
