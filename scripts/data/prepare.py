"""Files become a data folder: train.jsonl, validation.jsonl, test.jsonl, rejected.jsonl, card.json and card.html."""

from collections import Counter, defaultdict
from contextlib import ExitStack
from hashlib import sha256
from itertools import islice
from pathlib import Path

import msgspec

from converters.appearing import appearing
from server.errors import InvalidValue
from server.models.files import hash_file

from ..examples import SPLITS, Example
from ..reporting import Reporter
from . import splitting
from .card import Card, Duplicates, Leakage, Paraphrases, Personal, lengths
from .intake import Intake
from .lengths import meter
from .order import Order
from .page import render
from .paraphrase import Teacher
from .row import Bad
from .sifting import Sieve
from .store import Store
from .versions import versions

AT_ONCE = 256  # examples that are paraphrased together
READ = 0.9  # share of the time that reading takes


def prepare(order: Order, folder: Path, reporter: Reporter) -> Card:
    """Write a new folder, whole or not at all. Raises InvalidValue for data that is none, StorageFull."""
    with appearing(folder) as partial, Store(partial / "examples") as store:
        counting, checkpoint = meter(order)
        sieve = Sieve(store, order.near, order.seed)
        intake = Intake(order, sieve, counting, reporter)
        sources = intake.run(partial / "rejected.jsonl", READ)
        reporter.step(READ, "splitting")
        division = _divide(order, store, sieve)
        digests, examples = _write(partial, store, division.splits)
        paraphrases = None
        if order.paraphrase:
            paraphrases, more = _paraphrase(order, store, sieve, intake, division.splits, reporter)
            digests["train"] = _append(partial / "train.jsonl", more)
            examples["train"] += len(more)
        card = Card(
            examples=examples,
            digests=digests,
            sources=sources,
            lines=sum(source.lines for source in sources),
            rejected=dict(sorted(intake.rejected.items())),
            duplicates=_duplicates(order, sieve),
            leakage=Leakage(near_checked=order.near is not None, dropped=sieve.sifted.leaked, moved=division.moved),
            lengths={"whole": lengths(store.whole, counting.unit), "answer": lengths(store.answer, counting.unit)},
            labels=_labels(store, division.splits),
            personal=Personal(
                found=dict(sorted(intake.personal.items())), examples=intake.with_personal, redacted=order.redact
            ),
            paraphrases=paraphrases,
            tokenizer=_tokenizer(order, checkpoint),
            seed=order.seed,
            parameters=order.model_dump(mode="json", exclude={"seed"}, exclude_none=True),
            versions=versions(with_tokenizer=checkpoint is not None),
        )
        (partial / "card.json").write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
        (partial / "card.html").write_text(render(card), "utf-8")
    return card


def _divide(order: Order, store: Store, sieve: Sieve) -> splitting.Division:
    units: dict[int, list[int]] = defaultdict(list)
    for number, given in enumerate(store.given):
        if given is None:
            units[sieve.together.root(number)].append(number)
    if not units:
        raise InvalidValue("No example of the sources is left to train on: the given splits hold them all.")
    decisive = [splitting.Decisive(*of) for of in zip(store.keys, store.labels, store.given, strict=True)]
    return splitting.divide(decisive, units.values(), order.shares, order.seed)


def _write(folder: Path, store: Store, splits: list[str]) -> tuple[dict[str, str], dict[str, int]]:
    """The files of the splits that have examples; their digests and numbers, by split."""
    there = [split for split in SPLITS if split in splits]
    hashes = {split: sha256() for split in there}
    with ExitStack() as stack:
        files = {split: stack.enter_context((folder / f"{split}.jsonl").open("wb")) for split in there}
        for line, split in zip(store.lines(), splits, strict=True):
            files[split].write(line)
            hashes[split].update(line)
    counts = Counter(splits)
    return {split: found.hexdigest() for split, found in hashes.items()}, {split: counts[split] for split in there}


def _paraphrase(
    order: Order, store: Store, sieve: Sieve, intake: Intake, splits: list[str], reporter: Reporter
) -> tuple[Paraphrases, list[Example]]:
    """Paraphrases of train that fit the context and are near nothing that is measured with."""
    assert order.paraphrase is not None
    teacher = Teacher(order.paraphrase, order.seed)
    kept: list[Example] = []
    numbers = iter([number for number, split in enumerate(splits) if split == "train"])
    total, done = splits.count("train"), 0
    while not teacher.given_up and (batch := list(islice(numbers, AT_ONCE))):
        made = teacher.paraphrases([store.example(number) for number in batch])
        for example, length in zip(made, intake.meter.measure(made), strict=True):
            if isinstance(length, Bad):
                teacher.failed[length.kind] += 1
            elif sieve.leaks(example, splits):
                teacher.failed["near another split"] += 1
            else:
                kept.append(example)
        done += len(batch)
        reporter.step(READ + (1 - READ) * done / total, "paraphrasing", paraphrases=len(kept))
    teacher.require_an_answer()
    if teacher.given_up and done < total:
        reporter.say(f"{order.paraphrase.url} answered no more: {total - done} examples were not paraphrased.")
    told = order.paraphrase
    counted = dict(sorted(teacher.failed.items()))
    return Paraphrases(url=told.url, model=told.model, asked=teacher.asked, kept=len(kept), failed=counted), kept


def _append(path: Path, examples: list[Example]) -> str:
    """The digest of the whole file."""
    with path.open("ab") as file:
        file.writelines(msgspec.json.encode(example) + b"\n" for example in examples)
    return hash_file(path, sha256())


def _duplicates(order: Order, sieve: Sieve) -> Duplicates:
    found = sieve.sifted
    return Duplicates(
        exact=found.exact,
        near=found.near,
        threshold=order.near,
        same_prompt=found.same_prompt,
        in_given=found.in_given,
    )


def _labels(store: Store, splits: list[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, split in zip(store.labels, splits, strict=True):
        if label is not None:
            counts[label][split] += 1
    return {label: {split: count[split] for split in SPLITS if count[split]} for label, count in sorted(counts.items())}


def _tokenizer(order: Order, checkpoint: Path | None) -> dict[str, str] | None:
    if order.tokenizer is None or checkpoint is None:
        return None
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja")
    there = [checkpoint / name for name in files if (checkpoint / name).is_file()]
    return {"name": order.tokenizer, **{path.name: hash_file(path, sha256()) for path in there}}
