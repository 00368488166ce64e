"""The data of the worked example: what is measured on was never trained on."""

import json

from scripts.examples import Example
from scripts.worked.device_commands import SAYINGS, make

MADE = make({"train": 3000, "validation": 100, "test": 300})


def names(examples: list[Example]) -> set[str]:
    """Every word of a room or a device."""
    calls = [json.loads(example.answer) for example in examples]
    return {word for call in calls for name in (call["device"], call["room"]) for word in name.split()}


def test_splits_share_no_word_of_a_name_and_no_saying() -> None:
    train, validation, test = (names(MADE[split]) for split in ("train", "validation", "test"))
    assert not train & test
    assert not train & validation
    assert not validation & test
    for action in ("on", "off", "set"):
        sayings = [saying for split in SAYINGS for saying in SAYINGS[split][action]]
        assert len(set(sayings)) == len(sayings)


def test_the_vocabulary_is_wide() -> None:
    assert len(names(MADE["train"])) > 2000
    assert len(names(MADE["test"])) > 300


def test_a_request_holds_what_its_call_says() -> None:
    for example in MADE["test"]:
        call, request = json.loads(example.answer), example.prompt[-1].content.lower()
        assert call["device"] in request
        assert call["room"] in request
        assert ("value" in call) == (call["action"] == "set")
        assert str(call.get("value", "")) in request
