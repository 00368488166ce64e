"""One artifact in a process of its own: `python -P -m converters.report.probe`.

Its peak memory is its own, and a native engine that aborts takes nobody with it. Reads an order, a line of JSON, and
prints an answer. It ends with its stdin, and so with its parent, however that ends.
"""

import json
import shutil
import sys
import threading
import time
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from server.child.platform import peak_memory
from server.errors import CupolaError, InvalidValue, LoadFailed, StorageFull
from server.models import gguf as reader
from server.models.files import storage_errors
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement

from .. import tokenizer_json
from ..architectures import describe
from ..quality import STEP, Reference, RunnerReference, compared
from ..reference import GgufReference
from ..reporting import end_with_parent
from .figures import PROMPTS, SEQUENCES
from .orders import Agreement, Answer, ArtifactOrder, Found, Order, ReferenceOrder, Refused, Subject, Truth
from .speed import CONTEXT, decode, prefill
from .text import WINDOW, Listened, StoredRows, windows

FEW, MANY = SEQUENCES


def refer(order: ReferenceOrder) -> Truth:
    """Compute the logits of a text and write them. Raises InvalidValue, LoadFailed, StorageFull."""
    exact = _exact(order)
    if exact is not None:
        return exact
    runner, engine = _loaded(order.subject, Placement(threads=order.threads, slots=1, context=WINDOW))
    try:
        tokens = runner.tokenizer.encode(order.text, special=False)
        reference = RunnerReference(runner, f"{order.subject.label} on {engine}")
        lead = runner.tokenizer.encode("", special=False)
        sequences = windows(tokens, runner.info.context_length, order.most, lead)
        return _written(order, reference, sequences, runner.info.vocab_size)
    finally:
        runner.close()


def measure(order: ArtifactOrder) -> Found:
    """Load, time and compare. Raises InvalidValue and LoadFailed."""
    longest = max(WINDOW, *PROMPTS)
    began = time.perf_counter()
    runner, engine = _loaded(order.subject, Placement(threads=order.threads, slots=1, context=longest))
    loaded = time.perf_counter() - began
    try:
        prompts, alone = prefill(runner), decode(runner, FEW)
        memory = peak_memory()  # before rows are compared, which the engine does not need
        perplexity, agreement, notes = _compared(order, runner)
    finally:
        runner.close()
    return Found(
        engine=engine,
        perplexity=perplexity,
        agreement=agreement,
        memory=memory,
        load_seconds=loaded,
        prefill=prompts,
        decode={FEW: alone, MANY: _together(order)},
        notes=notes,
    )


def _together(order: ArtifactOrder) -> float:
    """The speed of many sequences, of a runner with a slot for each: one slot needs no memory for eight."""
    runner, _ = _loaded(order.subject, Placement(threads=order.threads, slots=MANY, context=CONTEXT))
    try:
        return decode(runner, MANY)
    finally:
        runner.close()


def _compared(order: ArtifactOrder, runner: ModelRunner) -> tuple[float, Agreement | None, tuple[str, ...]]:
    artifact = Listened(RunnerReference(runner, ""))
    mine = _as(order.sequences, order.text, runner)
    if mine != order.sequences or runner.info.vocab_size != order.vocabulary:
        for sequence in mine:
            for _ in artifact.rows(sequence, STEP):
                pass
        return artifact.perplexity, None, ("it reads the text in other tokens than the reference",)
    with Path(order.rows).open("rb") as file:
        found = compared(StoredRows(file, order.vocabulary, order.reference), artifact, order.sequences)
    agreement = Agreement(found.kl_mean, found.kl_p99, found.top1, found.positions)
    return artifact.perplexity, agreement, ()


def _as(sequences: list[list[int]], text: str, runner: ModelRunner) -> list[list[int]]:
    """As much of the text in sequences as long, in the tokens of this model."""
    encode = runner.tokenizer.encode
    lead = encode("", special=False)
    most = sum(map(len, sequences)) - (len(sequences) - 1) * len(lead)
    return windows(encode(text, special=False), len(sequences[0]), most, lead)


def _written(order: ReferenceOrder, source: Reference, sequences: list[list[int]], vocabulary: int) -> Truth:
    rows = Path(order.rows)
    needed, free = sum(map(len, sequences)) * vocabulary * 4, shutil.disk_usage(rows.parent).free
    if needed > free:
        raise StorageFull(
            f"The reference's logits take {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in {rows.parent};"
            " free some space, or set TMPDIR to another folder."
        )
    listened = Listened(source)
    with storage_errors(rows.parent), rows.open("wb") as file:
        for sequence in sequences:
            for part in listened.rows(sequence, STEP):
                part.tofile(file)
    return Truth(source.name, sequences, vocabulary, listened.perplexity)


def _exact(order: ReferenceOrder) -> Truth | None:
    """By the float32 forward of a GGUF file; None for a folder, and for an architecture that has none here."""
    if not order.subject.path.endswith(".gguf"):
        return None
    model = reader.read(Path(order.subject.path))
    try:
        decoder = describe(model)
        tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json.build(tokenizer_json.read(model))))
    except InvalidValue:
        return None
    tokenizer.encode_special_tokens = True  # what looks like one in the text is text
    context = reader.context_length(model.path) or WINDOW
    sequences = windows(tokenizer.encode(order.text).ids, context, order.most, tokenizer.encode("").ids)
    return _written(order, GgufReference(model), sequences, decoder.vocabulary)


def _loaded(subject: Subject, placement: Placement) -> tuple[ModelRunner, str]:
    """The model on the first engine that loads it. Raises LoadFailed with the reason of the first."""
    reasons = []
    for engine in subject.engines:
        try:
            placed = msgspec.structs.replace(placement, device=subject.device)
            return load_runner(engine, Path(subject.path), placed, lambda _: None), engine
        except LoadFailed as error:
            reasons.append(error)
    raise reasons[0]


def _answer(order: Order) -> Answer:
    try:
        return refer(order) if isinstance(order, ReferenceOrder) else measure(order)
    except CupolaError as error:
        return Refused(error.message)


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    sys.stdout.write("\n" + msgspec.json.encode(_answer(order)).decode() + "\n")


if __name__ == "__main__":
    main()
