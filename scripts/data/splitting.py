"""Which split an example goes to: decided by a hash of its prompt, so that more data moves none of those before.

What may not be separated, a unit, is the examples of one group, and near-duplicates of one another. Where the hashes of
a unit disagree it goes to train: an example may become one to learn from later, but none to measure with.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from server.errors import InvalidValue

from .order import Shares

TRAIN = "train"
MEASURED = ("validation", "test")
NAMED = 3  # labels in an error
FEWEST_LABELS = 20  # more labels than this, and than half of the examples, are no classes


@dataclass
class Division:
    """`splits` by number; how many examples did not go where their hash says, and why."""

    splits: list[str]
    moved: dict[str, int] = field(
        default_factory=lambda: {"together": 0, "label not in train": 0, "to fill a split": 0}
    )


@dataclass(frozen=True, slots=True)
class Decisive:
    """What decides."""

    key: bytes
    label: str | None
    given: str | None


def place(key: bytes, shares: Shares, seed: int) -> str:
    """A number in 0..1 of the key and the seed: test is at its start, validation next, train the rest."""
    total = shares.train + shares.validation + shares.test
    at = _hash(key, seed) / 2**64 * total
    return "test" if at < shares.test else "validation" if at < shares.test + shares.validation else TRAIN


def _hash(key: bytes, seed: int) -> int:
    return int.from_bytes(blake2b(key, digest_size=8, key=seed.to_bytes(4, "big")).digest(), "big")


def divide(examples: Sequence[Decisive], units: Iterable[Sequence[int]], shares: Shares, seed: int) -> Division:
    """`units` are of the examples that are not given. Raises InvalidValue where a split would be empty, or of labels
    that none in train has.
    """
    _refuse_many({example.label for example in examples}, len(examples))
    taken = {example.given for example in examples}
    free = shares.model_copy(update={split: 0.0 for split in MEASURED if split in taken})
    divider = _Divider(examples, [tuple(unit) for unit in units], free, seed)
    divider.by_hash(shares)
    divider.teach_labels()
    divider.fill()
    divider.check()
    return divider.division


def _refuse_many(labels: set[str | None], examples: int) -> None:
    if len(labels) > max(FEWEST_LABELS, examples / 2):
        raise InvalidValue(
            f"{examples} examples have {len(labels)} different labels, which are no classes; name the class's field"
            " with --label."
        )


class _Divider:
    def __init__(self, examples: Sequence[Decisive], units: list[tuple[int, ...]], shares: Shares, seed: int) -> None:
        self.division = Division([example.given or TRAIN for example in examples])
        self._examples = examples
        self._units = units
        self._shares = {split: float(getattr(shares, split)) for split in MEASURED}
        self._total = float(shares.train + shares.validation + shares.test)
        self._seed = seed

    def by_hash(self, shares: Shares) -> None:
        for unit in self._units:
            wanted = [place(self._examples[number].key, shares, self._seed) for number in unit]
            wanted = [split if self._shares.get(split) else TRAIN for split in wanted]
            agreed = wanted[0] if len(set(wanted)) == 1 else TRAIN
            self.division.moved["together"] += sum(split != agreed for split in wanted)
            self._put(unit, agreed)

    def teach_labels(self) -> None:
        """A label that no example of train has cannot be learned: its examples go there."""
        learned = self._labels(TRAIN)
        for unit in self._units:
            if self._split(unit) != TRAIN and any(self._examples[number].label not in learned for number in unit):
                self._put(unit, TRAIN, "label not in train")

    def fill(self) -> None:
        """A split without examples of a label, of which it should have one or more, gets one; and any split one."""
        counts = Counter(self._examples[number].label for unit in self._units for number in unit)
        ranked = sorted(self._units, key=lambda unit: (len(unit), _hash(self._examples[unit[0]].key, self._seed)))
        by_label: dict[str | None, list[tuple[int, ...]]] = defaultdict(list)
        for unit in ranked:
            labels = {self._examples[number].label for number in unit}
            if len(labels) == 1:
                by_label[labels.pop()].append(unit)
        learned = Counter(
            self._examples[number].label for unit in self._units if self._split(unit) == TRAIN for number in unit
        )
        for split in filter(self._shares.get, MEASURED):
            present = self._labels(split)
            due = [
                label
                for label, count in sorted(counts.items(), key=str)
                if label not in present and count * self._shares[split] / self._total >= 1
            ]
            for label in due:
                self._fill_with(split, by_label[label], learned)
            if not self._labels(split):
                self._fill_with(split, ranked, learned)

    def _fill_with(self, split: str, units: list[tuple[int, ...]], learned: Counter[str | None]) -> None:
        for unit in units:
            labels = Counter(self._examples[number].label for number in unit)
            if self._split(unit) == TRAIN and all(learned[label] > count for label, count in labels.items()):
                self._put(unit, split, "to fill a split")
                learned -= labels
                return

    def check(self) -> None:
        learned = self._labels(TRAIN)
        for split in MEASURED:
            missing = sorted(label for label in self._labels(split) - learned if label is not None)
            if missing:
                more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
                names = ", ".join(f"'{label}'" for label in missing[:NAMED]) + more
                raise InvalidValue(
                    f"Labels that are seen only in the {split} split cannot be learned: {names}; add examples of them"
                    " to the sources."
                )
        empty = [split for split in (TRAIN, *filter(self._shares.get, MEASURED)) if split not in self.division.splits]
        if empty:
            count = sum(len(unit) for unit in self._units)
            raise InvalidValue(
                f"{count} examples in {len(self._units)} units that stay together (near-duplicates, groups) leave none"
                f" for {' and '.join(empty)}; add data, set another --near, or a share of 0."
            )

    def _labels(self, split: str) -> set[str | None]:
        """Also None, for examples without."""
        return {example.label for example, at in zip(self._examples, self.division.splits, strict=True) if at == split}

    def _split(self, unit: tuple[int, ...]) -> str:
        return self.division.splits[unit[0]]

    def _put(self, unit: tuple[int, ...], split: str, why: str | None = None) -> None:
        for number in unit:
            self.division.splits[number] = split
        if why:
            self.division.moved[why] += len(unit)
