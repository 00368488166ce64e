"""Real models over a real text: what is converted says what the file says. Run with `-s` to see the figures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from converters import quality, reference
from converters.blocks import Floats
from converters.gguf_to_onnx import Outcome, convert
from server.models import gguf
from server.models.quality import Quality

from .conftest import POSITIONS, load, say

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
CODER_POSITIONS = 128


class Rows:
    """Logits that are there already, as a reference."""

    name = "float32 forward of the file"

    def __init__(self, rows: Floats) -> None:
        self._rows = rows

    def rows(self, tokens: list[int], step: int) -> Iterator[Floats]:
        assert len(tokens) == len(self._rows)
        for start in range(0, len(tokens), step):
            yield self._rows[start : start + step]


def shown(name: str, found: Quality) -> Quality:
    say(f"{name}: KL mean {found.kl_mean:.2e}, p99 {found.kl_p99:.2e}, top-1 {found.top1:.1%}, {found.positions}")
    return found


def test_in_float32_every_logit_is_that_of_the_file(
    real_model: Path, truth: Floats, prose_tokens: list[int], tmp_path: Path
) -> None:
    outcome = convert(real_model, tmp_path / "folder", "fp32")
    assert outcome.rounded == ()
    runner = load("onnx", outcome.folder)
    at, worst = 0, 0.0
    for rows in quality.RunnerReference(runner, "").rows(prose_tokens, 100):
        worst = max(worst, float(np.abs(rows - truth[at : at + len(rows)]).max()))
        at += len(rows)
    runner.close()
    say(f"largest difference of {truth.size:,} logits up to {truth.max():.0f}: {worst:.1e}")
    assert at == POSITIONS
    assert worst < 1e-2


def test_the_exact_folder_is_as_good_as_the_download(
    real_model: Path, real_folder: Path, truth: Floats, prose_tokens: list[int]
) -> None:
    """Against the float32 forward, and against llama.cpp, which like the folder rounds activations to 8 bits."""
    llama, runner = load("llama", real_model), load("onnx", real_folder)
    theirs = Rows(np.concatenate([rows.copy() for rows in quality.RunnerReference(llama, "").rows(prose_tokens, 100)]))
    llama.close()
    found = shown("exact against the file", quality.measure(runner, Rows(truth), prose_tokens))
    beside = shown("exact against llama.cpp", quality.measure(runner, theirs, prose_tokens))
    runner.close()
    assert found.kl_mean <= 0.01
    assert beside.kl_mean <= 0.02
    assert beside.top1 >= 0.94
    assert found.positions == POSITIONS


def test_a_model_of_mixed_types_is_as_good_as_the_download(coder_model: Path, coder_outcome: Outcome) -> None:
    llama, runner = load("llama", coder_model), load("onnx", coder_outcome.folder)
    tokens = llama.tokenizer.encode(quality.prose(), special=True)[:CODER_POSITIONS]
    truth = reference.logits(gguf.read(coder_model), tokens, range(len(tokens)))
    found = shown("coder, exact against the file", quality.measure(runner, Rows(truth), tokens))
    beside = shown("coder, exact against llama.cpp", quality.compare(llama, runner, tokens))
    llama.close()
    runner.close()
    assert found.kl_mean <= 0.01
    assert beside.kl_mean <= 0.02
    assert beside.top1 >= 0.94


def test_int4_is_measured_as_worse(int4_outcome: Outcome, truth: Floats, prose_tokens: list[int]) -> None:
    runner = load("onnx", int4_outcome.folder)
    found = shown("int4 against the file", quality.measure(runner, Rows(truth[:200]), prose_tokens[:200]))
    runner.close()
    assert 0.05 < found.kl_mean < 1
    assert found.top1 < 0.9
