"""The genai engine: Generators of the right length, and a configuration that is the folder's but for the threads."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.errors import LoadFailed
from server.runners import genai
from server.runners.base import FloatRows, ModelRunner, Placement, Segment
from server.runners.genai import SMALLEST, GenaiRunner
from server.runners.onnx.loading import load as load_onnx

from .conftest import FolderOf

PLACEMENT = Placement(threads=1, slots=3)
TOKENS = np.random.default_rng(3).integers(0, 250, 300).tolist()


@pytest.fixture
def runner(folder_of: FolderOf) -> Iterator[GenaiRunner]:
    loaded = genai.load(folder_of("every"), PLACEMENT, lambda _: None)
    yield loaded
    loaded.close()


@pytest.fixture
def onnx(folder_of: FolderOf) -> Iterator[ModelRunner]:
    """The same model on the onnx engine."""
    loaded = load_onnx(folder_of("every"), PLACEMENT, lambda _: None)
    yield loaded
    loaded.close()


def step(runner: ModelRunner, start: int, reserve: int, slot: int = 0) -> FloatRows:
    logits: FloatRows = runner.forward([Segment(slot, [TOKENS[start]], start, range(1), reserve)]).host([0])[0].copy()
    return logits


def test_both_engines_say_the_same(runner: GenaiRunner, onnx: ModelRunner) -> None:
    segment = Segment(0, TOKENS[:200], 0, range(200))
    assert runner.info.logits == "any"
    assert runner.info.cache_bytes_per_token == onnx.info.cache_bytes_per_token
    np.testing.assert_allclose(
        runner.forward([segment]).host(range(200)), onnx.forward([segment]).host(range(200)), atol=1e-4
    )
    for start in range(200, 210):
        np.testing.assert_allclose(step(runner, start, 0), step(onnx, start, 0), atol=1e-4)


def test_a_sequence_may_outgrow_its_generator(runner: GenaiRunner, onnx: ModelRunner) -> None:
    """Its length was not known, and it grows past the smallest Generator, one token at a time."""
    lengths = set()
    for start in range(SMALLEST + 50):
        np.testing.assert_allclose(step(runner, start, 0), step(onnx, start, 0), atol=1e-4)
        lengths.add(runner.room(0))
    assert min(lengths) == SMALLEST
    assert len(lengths) == 3, "a Generator for each token would compute the text anew each time"


def test_a_generator_has_room_for_what_was_asked_and_no_more(runner: GenaiRunner) -> None:
    runner.forward([Segment(0, TOKENS[:10], 0, range(0), reserve=150)])
    assert runner.room(0) == 150
    for start in range(10, 150):
        step(runner, start, 150)
    assert runner.room(0) == 150
    assert runner.room(1) == 0, "idle slots have none"
    runner.truncate(0, 0)
    assert runner.room(0) == 0


def test_a_sequence_may_fill_the_context(folder_of: FolderOf) -> None:
    runner = genai.load(folder_of("last"), Placement(threads=1, slots=1, context=80), lambda _: None)
    assert runner.info.context_length == 80
    for start in range(80):
        step(runner, start, 0)
    assert runner.room(0) == 80
    runner.close()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 199])
def test_going_back_is_as_good_as_never_having_been_there(runner: GenaiRunner, length: int) -> None:
    runner.forward([Segment(0, TOKENS[:200], 0, range(0), 300), Segment(1, TOKENS[:length], 0, range(0), 300)])
    assert runner.truncate(0, length)
    for start in range(length, length + 3):
        np.testing.assert_allclose(step(runner, start, 300), step(runner, start, 300, slot=1), atol=1e-5)


def test_nothing_of_ours_changes_what_a_folder_may_say() -> None:
    """The overlay comes after the check of the configuration, so it holds one number that no folder can choose."""
    assert genai.overlay(Placement(threads=3, device="cuda", context=9)) == {
        "model": {"decoder": {"session_options": {"intra_op_num_threads": 3}}}
    }


def test_a_folder_that_wants_code_is_refused_before_genai_sees_it(folder_of: FolderOf, tmp_path: Path) -> None:
    folder = shutil.copytree(folder_of("last"), tmp_path / "folder")
    configuration = json.loads((folder / "genai_config.json").read_text())
    configuration["model"]["decoder"]["session_options"]["custom_ops_library"] = "evil.so"
    (folder / "genai_config.json").write_text(json.dumps(configuration))
    with pytest.raises(LoadFailed, match="custom_ops_library"):
        genai.load(folder, PLACEMENT, lambda _: None)
