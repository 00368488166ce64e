"""What is kept of the examples: no duplicate, and nothing that is in a split which is given."""

from dataclasses import dataclass, field

import msgspec

from ..examples import Example
from .components import Components
from .lengths import Length
from .near import CROWD, Neighbours, similarity
from .store import Store, asked, digest, identity, key_of

LOOKED_AT = 8  # near neighbours whose answers are compared, and answers to one prompt


@dataclass
class Sifted:
    """How many were left out, and why."""

    exact: int = 0
    near: int = 0
    same_prompt: int = 0  # kept: another answer to a prompt that is there already
    in_given: int = 0  # kept: given splits stay as they are
    leaked: dict[str, int] = field(default_factory=lambda: {"exact": 0, "near": 0, "group": 0})


class Sieve:
    """Takes examples one by one: those of given splits first, since what is in them is dropped elsewhere."""

    def __init__(self, store: Store, near: float | None, seed: int) -> None:
        self.sifted = Sifted()
        self.together = Components()
        self._store = store
        self._threshold = near
        self._neighbours = None if near is None else Neighbours(near, seed)
        self._identities: dict[bytes, int] = {}
        self._prompts: dict[bytes, list[int]] = {}
        self._groups: dict[str, int] = {}

    def take(self, example: Example, group: str, given: str | None, length: Length) -> None:
        """`group` is empty where there are no groups."""
        same = identity(example)
        if self._is_exact(same, given):
            return
        prompt = asked(example)
        key = key_of(prompt)
        known = self._prompts.get(key, [])
        signature = None if known or self._neighbours is None else self._neighbours.signature(prompt)
        near = known if signature is None or self._neighbours is None else self._neighbours.near(signature)
        kin = self._groups.get(group) if group else None
        if self._leaks(given, known, near, kin) or (given is None and self._is_near(example, near)):
            return
        self.sifted.same_prompt += bool(known)
        if not example.id:
            example = msgspec.structs.replace(example, id=same.hex())
        number = self._store.add(example, digest("group", group) if group else key, given, length)
        self._identities.setdefault(same, number)
        self.together.add()
        if given is None:
            for other in (*near, *([] if kin is None else [kin])):
                self.together.join(number, other)
        if group:
            self._groups.setdefault(group, number)
        if len(known) < LOOKED_AT:
            self._prompts.setdefault(key, []).append(number)
        if signature is not None and self._neighbours is not None and len(near) < CROWD:
            self._neighbours.add(number, signature)

    def leaks(self, example: Example, splits: list[str]) -> bool:
        """Whether an example for train is near one of another split. `splits` is where each number went."""
        prompt = asked(example)
        found = self._prompts.get(key_of(prompt), [])
        if self._neighbours is not None:
            found = found + self._neighbours.near(self._neighbours.signature(prompt))
        return any(splits[number] != "train" for number in found)

    def _is_exact(self, same: bytes, given: str | None) -> bool:
        """Whether an exact duplicate is left out; it is counted."""
        earlier = self._identities.get(same)
        if earlier is None:
            return False
        there = self._store.given[earlier]
        if there is None:
            self.sifted.exact += 1
        elif there == given:
            self.sifted.in_given += 1
        else:
            self.sifted.leaked["exact"] += 1
        return there != given or given is None

    def _leaks(self, given: str | None, known: list[int], near: list[int], kin: int | None) -> bool:
        """Whether it is in a given split that is not its own; it is counted."""
        for kind, numbers in (("exact", known), ("near", near), ("group", [] if kin is None else [kin])):
            if any(self._store.given[number] not in {None, given} for number in numbers):
                self.sifted.leaked[kind] += 1
                return True
        return False

    def _is_near(self, example: Example, near: list[int]) -> bool:
        """Whether question and answer are nearly those of another, with the same label; it is counted."""
        if self._threshold is None:
            return False
        for number in near[:LOOKED_AT]:
            if self._store.labels[number] != example.label:
                continue
            other = self._store.example(number)
            if not example.messages or (other.messages and similarity(example.answer, other.answer) >= self._threshold):
                self.sifted.near += 1
                return True
        return False
