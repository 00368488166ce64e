import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from scripts import examples
from scripts.data.card import Card
from scripts.data.order import Order
from scripts.data.prepare import prepare
from scripts.recipe import checked
from scripts.reporting import Reporter
from server.errors import InvalidValue

TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
ROOMS = "kitchen cellar attic garden hall study nursery scullery pantry loft porch studio".split()
THINGS = "lamp radio heater fan kettle blind fountain oven pump mixer".split()


def lines(path: Path, made: list[Any]) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in made), "utf-8")
    return path


def pairs(count: int = 120) -> list[dict[str, str]]:
    """Questions of few words, none near another, with three labels."""
    found = [(room, thing) for room in ROOMS for thing in THINGS][:count]
    return [
        {"question": f"{room} {thing}?", "answer": f"{thing} {number}", "label": "abc"[number % 3]}
        for number, (room, thing) in enumerate(found)
    ]


def checkpoint(folder: Path, template: str | None = TEMPLATE, context: int = 64) -> Path:
    """A tokenizer with a token a word, and no weights."""
    folder.mkdir()
    tokenizer = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<unk>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | ({"chat_template": template} if template else {}))
    )
    model = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": context}
    (folder / "config.json").write_text(json.dumps(model))
    return folder


def made(folder: Path, *sources: Path, **told: Any) -> Card:
    return prepare(Order(sources=sources, **told), folder, Reporter(None))


def split(folder: Path, name: str) -> list[examples.Example]:
    return examples.read(folder / f"{name}.jsonl")


def test_a_folder_is_made_that_the_other_tools_read(tmp_path: Path) -> None:
    bad = ["{broken", {"question": "why?"}]
    source = lines(tmp_path / "pairs.jsonl", [*pairs(), *bad, pairs()[0]])
    card = made(tmp_path / "data", source)
    found = {name: split(tmp_path / "data", name) for name in examples.SPLITS}
    assert {name: len(of) for name, of in found.items()} == card.examples
    assert sum(card.examples.values()) == 120
    assert card.lines == 123
    assert card.duplicates.exact == 1
    assert card.rejected == {"missing field": 1, "not JSON": 1}
    listed = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text("utf-8").splitlines()]
    assert [(one["file"], one["line"], one["kind"]) for one in listed] == [
        (str(source), 121, "not JSON"),
        (str(source), 122, "missing field"),
    ]
    assert {label: sum(counts.values()) for label, counts in card.labels.items()} == {"a": 40, "b": 40, "c": 40}
    assert all(set(counts) == set(examples.SPLITS) for counts in card.labels.values())
    assert Card.model_validate_json((tmp_path / "data" / "card.json").read_text("utf-8")) == card
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "card.html", "card.json", "rejected.jsonl", "test.jsonl", "train.jsonl", "validation.jsonl",
    ]  # fmt: skip


def test_the_page_shows_two_histograms_and_no_markup_of_the_data(tmp_path: Path) -> None:
    one = pairs()
    one[0]["label"] = one[1]["label"] = "<script>"
    made(tmp_path / "data", lines(tmp_path / "pairs.jsonl", one))
    page = (tmp_path / "data" / "card.html").read_text("utf-8")
    assert "[&#x27;" not in page, "options in words, not as Python writes them"
    assert page.count("<svg") == 2
    assert page.count('<rect class="series-0"') > 2
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "http" not in page


def test_the_same_input_and_seed_make_the_same_bytes(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs())
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        made(tmp_path / name, source, seed=seed)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two", "three")
    ]
    assert contents[0] == contents[1]
    assert contents[0]["test.jsonl"] != contents[2]["test.jsonl"]


def test_more_data_moves_no_example(tmp_path: Path) -> None:
    told = [{name: text for name, text in one.items() if name != "label"} for one in pairs()]
    made(tmp_path / "few", lines(tmp_path / "few.jsonl", told[40:]))
    made(tmp_path / "all", lines(tmp_path / "all.jsonl", told))
    few = {one.id: name for name in examples.SPLITS for one in split(tmp_path / "few", name)}
    all_of_them = {one.id: name for name in examples.SPLITS for one in split(tmp_path / "all", name)}
    assert len(few) == 80
    assert few.items() <= all_of_them.items()


def test_what_was_prepared_can_be_prepared_again(tmp_path: Path) -> None:
    made(tmp_path / "one", lines(tmp_path / "pairs.jsonl", pairs()))
    again = made(tmp_path / "two", *(tmp_path / "one" / f"{name}.jsonl" for name in examples.SPLITS))
    first = {one.id: name for name in examples.SPLITS for one in split(tmp_path / "one", name)}
    assert {one.id: name for name in examples.SPLITS for one in split(tmp_path / "two", name)} == first
    assert sum(again.examples.values()) == 120


words = st.lists(st.sampled_from([*ROOMS, *THINGS]), min_size=1, max_size=12).map(" ".join)


@given(drawn=st.lists(st.tuples(words, st.sampled_from("xyz")), min_size=30, max_size=80), seed=st.integers(0, 9))
@settings(suppress_health_check=list(HealthCheck), max_examples=15, deadline=None)
def test_no_question_is_in_two_splits(
    drawn: list[tuple[str, str]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("leak")
    given_test = [{"question": question, "answer": answer} for question, answer in drawn[:5]]
    pool = [{"question": question.upper(), "answer": answer} for question, answer in [*drawn, *drawn[:10]]]
    pool += pairs(60)
    test = lines(folder / "test.jsonl", given_test)
    card = made(folder / "data", lines(folder / "pool.jsonl", pool), test=test, seed=seed)
    seen: dict[str, set[str]] = {}
    for name in examples.SPLITS:
        for one in split(folder / "data", name):
            seen.setdefault(" ".join(one.prompt[-1].content.casefold().split()), set()).add(name)
    assert all(len(names) == 1 for names in seen.values())
    assert card.examples["test"] == 5
    left_out = card.duplicates.exact + card.duplicates.near + sum(card.leakage.dropped.values())
    assert sum(card.examples.values()) + left_out == card.lines


def test_lengths_are_those_of_the_models_own_template(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", [*pairs(), {"question": "long " * 70, "answer": "a", "label": "a"}])
    card = made(tmp_path / "data", source, tokenizer=str(checkpoint(tmp_path / "model")))
    assert card.rejected == {"too long": 1}
    assert "73 tokens, and the context has 64" in (tmp_path / "data" / "rejected.jsonl").read_text("utf-8")
    whole = card.lengths["whole"]
    assert (whole.unit, whole.shortest, whole.median, whole.longest) == ("tokens", 6, 6, 6)
    assert card.lengths["answer"].longest == 2
    assert sum(whole.counts) == 120
    assert card.tokenizer is not None
    assert len(card.tokenizer["tokenizer.json"]) == 64
    shorter = {"tokenizer": str(tmp_path / "model"), "context": 5}
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        made(tmp_path / "short", source, **shorter)
    with pytest.raises(InvalidValue, match="--context 65 is more than the 64 tokens"):
        made(tmp_path / "short", source, **(shorter | {"context": 65}))


def test_a_template_that_refuses_an_example_is_a_reason(tmp_path: Path) -> None:
    strict = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system message here.') }}{% endif %}" + TEMPLATE
    )
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    source = lines(tmp_path / "pairs.jsonl", [*pairs(), {"messages": turns}])
    card = made(tmp_path / "data", source, tokenizer=str(checkpoint(tmp_path / "model", strict)))
    assert card.rejected == {"template refused": 1}
    assert "No system message here." in (tmp_path / "data" / "rejected.jsonl").read_text("utf-8")


def test_a_tokenizer_without_a_template_is_refused(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs())
    with pytest.raises(InvalidValue, match="has no chat template; put the model"):
        made(tmp_path / "data", source, tokenizer=str(checkpoint(tmp_path / "model", None)))
    plain = lines(tmp_path / "texts.jsonl", [{"text": f"{one['question']} {one['answer']}"} for one in pairs()])
    assert made(tmp_path / "data", plain, tokenizer=str(tmp_path / "model")).lengths["whole"].longest == 4


def test_a_checkpoint_of_pickles_and_one_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    source = lines(tmp_path / "pairs.jsonl", pairs())
    folder = checkpoint(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InvalidValue, match="has no tokenizer that can be loaded"):
        made(tmp_path / "data", source, tokenizer=str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(InvalidValue, match="pickle"):
        made(tmp_path / "data", source, tokenizer=str(folder))


def test_groups_are_not_divided(tmp_path: Path) -> None:
    told = [one | {"house": number // 4} for number, one in enumerate(pairs())]
    made(tmp_path / "data", lines(tmp_path / "pairs.jsonl", told), group="house")
    where: dict[int, set[str]] = {}
    for name in examples.SPLITS:
        for one in split(tmp_path / "data", name):
            where.setdefault(int(one.answer.split()[1]) // 4, set()).add(name)
    assert len(where) == 30
    assert all(len(names) == 1 for names in where.values())


def test_personal_data_is_counted_and_replaced_when_asked(tmp_path: Path) -> None:
    told = pairs()
    told[3]["question"] = told[4]["answer"] = "write to ann@example.org"
    source = lines(tmp_path / "pairs.jsonl", told)
    for name, redact in (("plain", False), ("redacted", True)):
        card = made(tmp_path / name, source, redact=redact)
        assert card.personal.found == {"email": 2}
        assert card.personal.examples == 2
        kept = "".join((tmp_path / name / f"{part}.jsonl").read_text("utf-8") for part in examples.SPLITS)
        assert kept.count("ann@example.org") == (0 if redact else 2)
        assert kept.count("[EMAIL]") == (2 if redact else 0)


@pytest.mark.parametrize(
    ("made_of", "told", "sentence"),
    [
        (
            [*pairs(30), *["{"] * 10],
            {},
            "10 of 40 lines are bad, and --most-bad 0.1 allows fewer (not JSON 10). The first:",
        ),
        (["{", "{"], {"most_bad": 1.0}, "2 of 2 lines are bad, and none is good"),
        (pairs(1), {}, "leave none for validation and test; add data"),
        ([{"frage": "a"}], {}, "the fields found are frage, which is no known shape"),
        ([], {}, "is empty"),
    ],
)
def test_data_that_is_none_is_refused_and_leaves_nothing(
    tmp_path: Path, made_of: list[Any], told: dict[str, Any], sentence: str
) -> None:
    source = lines(tmp_path / "pairs.jsonl", made_of)
    with pytest.raises(InvalidValue) as caught:
        made(tmp_path / "data", source, **told)
    assert sentence in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_given_test_split_with_a_label_of_its_own_is_refused(tmp_path: Path) -> None:
    test = lines(tmp_path / "test.jsonl", [{"question": "new?", "answer": "x", "label": "z"}])
    with pytest.raises(InvalidValue, match="seen only in the test split cannot be learned: 'z'"):
        made(tmp_path / "data", lines(tmp_path / "pairs.jsonl", pairs()), test=test)
    with pytest.raises(InvalidValue, match="the given splits hold them all"):
        made(tmp_path / "data", lines(tmp_path / "few.jsonl", pairs(3)), test=lines(test, pairs(3)))


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    with pytest.raises(InvalidValue, match="a context counts tokens: name the checkpoint"):
        checked(Order, {"sources": [source], "context": 100}, Path("The options"))
    with pytest.raises(InvalidValue, match="a file is named twice"):
        checked(Order, {"sources": [source], "test": source}, Path("The options"))
