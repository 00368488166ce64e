"""Device commands in plain English, and the JSON call that each one means.

    "Could you dim the brass lantern in the old scullery to 40 percent?"
    {"action":"set","device":"brass lantern","room":"old scullery","value":40}

Training, validation and test share no sentence template, and no word of a name: what is measured is whether the model
reads a sentence it has not seen, and copies names it has not seen. Diversity is what teaches it, so names are wide.
"""

import json
import random
from dataclasses import dataclass, replace

from ..examples import Example, Turn
from .device_words import DEVICES, FURTHER, QUALITIES, ROOMS, blend, common, compound, made_up, misspelled, shares

SYSTEM = "Answer with the JSON call for the request."
ACTIONS = ("on", "off", "set")
# By split: how the request is framed, and how each action is said.
FRAMES = {
    "train": (
        "{}", "{}.", "please {}", "Please {}.", "{}, please", "can you {}?", "Could you {}?", "I want you to {}.",
        "I'd like you to {}", "hey, {}", "ok now {}", "It is late, {}.", "go and {}", "be so kind and {}", "{} now!",
        "we need you to {}", "remember to {}", "{} for me", "would you {}", "right, {}",
    ),
    "validation": ("{} if you can", "Kindly {}.", "help me and {}"),
    "test": ("{}, thanks", "Would you kindly {}?", "you should {}", "quickly {}", "{}, will you?", "Hello! {}."),
}  # fmt: skip
SAYINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "on": (
            "turn on the {device} in the {room}", "switch on the {device} in the {room}",
            "turn the {device} in the {room} on", "in the {room}, turn on the {device}",
            "start the {device} in the {room}", "put the {device} on in the {room}",
            "power up the {device} in the {room}", "activate the {device} of the {room}",
            "get the {device} going in the {room}",
            "make sure the {device} in the {room} is on",
            "get the {device} switched on in the {room}", "I need the {device} powered up in the {room}",
            "let the {device} be started in the {room}", "in the {room}, turn the {device} on",
            "flip the {device} in the {room} on", "the {device} of the {room} should be on",
        ),
        "off": (
            "turn off the {device} in the {room}", "switch off the {device} in the {room}",
            "turn the {device} in the {room} off", "in the {room}, turn off the {device}",
            "stop the {device} in the {room}", "put the {device} off in the {room}",
            "power down the {device} in the {room}", "deactivate the {device} of the {room}",
            "shut down the {device} in the {room}",
            "make sure the {device} in the {room} is off",
            "get the {device} switched off in the {room}", "I need the {device} powered down in the {room}",
            "let the {device} be stopped in the {room}", "in the {room}, turn the {device} off",
            "flip the {device} in the {room} off", "the {device} of the {room} should be off",
        ),
        "set": (
            "set the {device} in the {room} to {value} percent", "set the {device} in the {room} to {value}%",
            "in the {room}, set the {device} to {value} percent", "put the {device} in the {room} at {value}%",
            "change the {device} of the {room} to {value} percent", "bring the {device} in the {room} to {value}%",
            "turn the {device} in the {room} to {value} percent", "adjust the {device} in the {room} to {value}",
            "have the {device} in the {room} at {value} percent", "move the {device} in the {room} to {value}%",
            "get the {device} adjusted to {value}% in the {room}",
            "let the {device} be brought to {value}% in the {room}",
            "I want the {device} fixed at {value}% in the {room}",
            "keep the {device} dimmed to {value} percent in the {room}",
            "leave the {device} raised to {value}% in the {room}",
            "I need the {device} moved to {value} percent in the {room}",
            "I want the {device} set to {value} percent in the {room}", "in the {room}, bring the {device} to {value}%",
            "get the {device} of the {room} set to {value}%",
        ),
    },
    "validation": {
        "on": ("switch the {device} in the {room} on", "bring the {device} on in the {room}"),
        "off": ("switch the {device} in the {room} off", "take the {device} off in the {room}"),
        "set": ("make the {device} in the {room} go to {value}%", "turn the {device} of the {room} to {value} percent"),
    },
    "test": {
        "on": (
            "have the {device} turned on in the {room}", "see that the {device} of the {room} is on",
            "in the {room}, switch the {device} on",
        ),
        "off": (
            "have the {device} turned off in the {room}", "see that the {device} of the {room} is off",
            "in the {room}, switch the {device} off",
        ),
        "set": (
            "have the {device} set to {value}% in the {room}",
            "see that the {device} of the {room} is at {value} percent",
            "in the {room}, put the {device} to {value}%",
        ),
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """What names of one split are made of."""

    qualities: list[str]
    rooms: list[str]
    devices: list[str]
    invented: list[str]
    kept: frozenset[str] = frozenset()  # words of the other splits
    common: tuple[str, ...] = ()  # words of any kind, plain and changed, that only training names things by

    def name(self, nouns: list[str], source: random.Random) -> str:
        """One to three words: an invented one, a plain one, or both together."""
        noun = self._noun(nouns, source)
        before = source.choices((0, 1, 2), weights=(3, 4, 2))[0]
        return " ".join([*(self._quality(source) for _ in range(before)), noun])

    def _noun(self, nouns: list[str], source: random.Random) -> str:
        if source.random() < (0.35 if self.common else 0.5):
            return source.choice(self.invented)
        return self._any(source) if self.common and source.random() < 0.8 else source.choice(nouns)

    def _quality(self, source: random.Random) -> str:
        if source.random() < (0.3 if self.common else 0.4):
            return source.choice(self.invented)
        return self._any(source) if self.common and source.random() < 0.8 else source.choice(self.qualities)

    def _any(self, source: random.Random) -> str:
        """A plain word, a compound, a blend of two, or a word that is spelled wrong: each is to be copied as it is."""
        word, other = source.sample(self.common, 2)
        kind = source.choices(range(4), weights=(14, 2, 2, 2))[0]
        if kind == 0:
            return word
        found = (compound([word], source), blend(word, other, source), misspelled(word, source))[kind - 1]
        return word if found in self.kept else found


def make(sizes: dict[str, int], seed: int = 0, invented: int = 20_000) -> dict[str, list[Example]]:
    """Examples by split; `invented` words are made up for all splits together."""
    source = random.Random(seed)  # noqa: S311  # data, not secrets
    plain = {*QUALITIES, *ROOMS, *DEVICES, *FURTHER}
    new: dict[str, None] = {}
    while len(new) < invented:
        word = made_up(source)
        if word not in plain:
            new[word] = None
    qualities = list(dict.fromkeys([*QUALITIES, *FURTHER]))
    parts = [shares(words, source) for words in (qualities, ROOMS, DEVICES, list(new))]
    words: dict[str, Words] = {}
    for index, split in enumerate(FRAMES):
        quality, room, device, invention = (part[index] for part in parts)
        others = frozenset(
            word for part in parts for other in range(len(FRAMES)) if other != index for word in part[other]
        )
        words[split] = Words(quality, room, device, invention, others)
        if split == "train":
            known = dict.fromkeys([*quality, *room, *device, *common()])
            words[split] = replace(words[split], common=tuple(word for word in known if word not in others))
    return {split: [_example(split, words[split], source) for _ in range(size)] for split, size in sizes.items()}


def _example(split: str, words: Words, source: random.Random) -> Example:
    action = source.choice(ACTIONS)
    device, room = words.name(words.devices, source), words.name(words.rooms, source)
    call: dict[str, str | int] = {"action": action, "device": device, "room": room}
    if action == "set":
        call["value"] = source.randint(0, 100)
    saying = source.choice(SAYINGS[split][action]).format(device=device, room=room, value=call.get("value"))
    request = source.choice(FRAMES[split]).format(saying)
    request = request[0].upper() + request[1:] if source.random() < 0.5 else request
    answer = json.dumps(call, separators=(",", ":"))
    turns = (Turn("system", SYSTEM), Turn("user", request), Turn("assistant", answer))
    return Example(turns, label=action)
