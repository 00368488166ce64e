"""`cupola show` tells how an artifact came to be."""

from datetime import UTC, datetime

from server.cli.details import WIDTH, lineage, shown
from server.models.lineage import Record, Step

HASH = "0123456789abcdef" * 4
STEPS = (
    Step(tool="gguf-to-hf", inputs={"model.gguf": HASH}, seconds=3.4),
    Step(
        tool="prune",
        parameters={"blocks": 20, "scores": " ".join(["0.1234"] * 30)},
        versions={"torch": "2.13.0"},
        datasets={"prose.txt": HASH},
        peak_memory=1_500_000_000,
    ),
)
RECORD = Record(
    base_model="SmolLM2-135M",
    licence="Apache-2.0",
    parameters=99_114_048,
    tensor_types={"F32": 61, "int8": 121},
    steps=STEPS,
    digest=HASH,
    created=datetime(2026, 1, 2, tzinfo=UTC),
    cupola_version="0.1.0",
)


def test_every_fact_is_told_in_lines_that_fit() -> None:
    lines = [*shown(*lineage(RECORD))]
    assert max(map(len, lines)) <= WIDTH
    text = " ".join(line.strip() for line in lines)
    for fact in (
        "made from SmolLM2-135M, licence Apache-2.0",
        HASH,
        "99,114,048 parameters; tensors: 61 F32, 121 int8",
        "1. gguf-to-hf (3 s)",
        "of model.gguf, 0123456789abcdef",
        "2. prune (1.50 GB of memory at most)",
        "with blocks 20, scores 0.1234",
        "by torch 2.13.0",
        "text prose.txt, 0123456789abcdef",
        "recorded 2026-01-02 by Cupola 0.1.0",
    ):
        assert fact in text, fact
    assert text.count("0.1234") == 30


def test_what_is_not_known_is_not_guessed() -> None:
    bare = Record(digest=HASH, created=RECORD.created, cupola_version="0.1.0")
    lines = [*shown(*lineage(bare))]
    assert lines[0].strip() == "of unknown origin, licence unknown"
    assert not any("tensors" in line or "parameters" in line for line in lines)
