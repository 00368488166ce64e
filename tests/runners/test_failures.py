"""What the onnx and genai engines refuse to load, and what becomes of a batch that fails in the middle."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import LoadFailed
from server.runners import load_runner
from server.runners.base import ModelRunner, Placement, Segment, SlotsLost
from server.runners.onnx.loading import load

from . import folders
from .conftest import FolderOf

PLACEMENT = Placement(threads=1, slots=4)
BAD = folders.FAILS_FROM
TOKENS = np.random.default_rng(0).integers(0, BAD, 80).tolist()
LAST = range(79, 80)


@pytest.fixture(params=["onnx", "onnx on a device", "genai"])
def failing(request: pytest.FixtureRequest, folder_of: FolderOf) -> Iterator[ModelRunner]:
    """A model that fails on the token BAD, for the engine does not know that it would."""
    folder = folder_of("failing")
    if request.param == "genai":
        runner = load_runner("genai", folder, PLACEMENT, lambda _: None)
    else:
        runner = load(folder, PLACEMENT, lambda _: None, device_rows="device" in request.param)
    yield runner
    runner.close()


def test_a_slot_that_was_lost_can_be_used_again(failing: ModelRunner) -> None:
    expected = failing.forward([Segment(0, TOKENS, 0, LAST)]).host([0])[0].copy()
    with pytest.raises(SlotsLost) as lost:
        failing.forward([Segment(0, [BAD], 80, range(1))])
    assert lost.value.slots == [0]
    assert str(lost.value)
    found = failing.forward([Segment(0, TOKENS, 0, LAST)]).host([0])[0]
    np.testing.assert_array_equal(found, expected)


def test_only_the_slot_at_fault_is_lost(failing: ModelRunner) -> None:
    """One that decodes and one that has a prompt fail in company; what the company held is what it still holds."""
    failing.forward([Segment(slot, TOKENS[slot:], 0, range(0)) for slot in (0, 1)])
    batch = [
        Segment(0, [5], 80, range(1)),
        Segment(1, [BAD], 79, range(1)),
        Segment(2, [*TOKENS, BAD], 0, range(80, 81)),
        Segment(3, TOKENS, 0, LAST),
    ]
    with pytest.raises(SlotsLost) as lost:
        failing.forward(batch)
    assert sorted(lost.value.slots) == [1, 2]
    again = failing.forward([batch[0], batch[3], Segment(1, TOKENS[:-1], 0, range(78, 79))])
    for slot in range(4):
        failing.truncate(slot, 0)
    expected = failing.forward([Segment(0, TOKENS, 0, range(0)), batch[3]]).host([0])[0].copy()
    np.testing.assert_array_equal(again.host([1])[0], expected)
    expected = failing.forward([batch[0]]).host([0])[0]
    np.testing.assert_array_equal(again.host([0])[0], expected)


def test_whoever_decodes_in_bad_company_goes_on(failing: ModelRunner) -> None:
    """As many as there are slots, of which one fails: the others are run again, one by one, and then step on."""
    for bad in range(4):
        failing.forward([Segment(slot, TOKENS[slot:], 0, range(0)) for slot in range(4)])
        batch = [Segment(slot, [BAD if slot == bad else 7], 80 - slot, range(1)) for slot in range(4)]
        with pytest.raises(SlotsLost) as lost:
            failing.forward(batch)
        assert lost.value.slots == [bad]
        others = [segment for segment in batch if segment.slot != bad]
        together = failing.forward(others).host(range(3)).copy()
        for number, segment in enumerate(others):
            assert failing.truncate(segment.slot, segment.start)
            alone = failing.forward([segment]).host([0])[0]
            np.testing.assert_allclose(together[number], alone, atol=1e-5)
            failing.truncate(segment.slot, 0)


Change = Callable[[dict[str, Any]], object]
CONFIGURATIONS: dict[str, tuple[Change, str]] = {
    "a pipeline": (lambda c: c["model"]["decoder"].update(pipeline=[{"part": {}}]), "a pipeline of several graphs"),
    "a rolling buffer": (lambda c: c["model"]["decoder"].update(sliding_window={"window_size": 9}), "rolling buffer"),
    "buffers of its own": (lambda c: c["search"].update(past_present_share_buffer=False), "shared KV buffer"),
    "no sizes": (lambda c: c["model"]["decoder"].update(head_size=0), "does not say the sizes"),
    "wrong sizes": (lambda c: c["model"]["decoder"].update(head_size=32), "nvalid dimensions"),
    "more layers": (lambda c: c["model"]["decoder"].update(num_hidden_layers=3), r"no 'past_key_values\.2\.key'"),
    "another output": (lambda c: c["model"]["decoder"]["outputs"].update(logits="scores"), "no 'scores'"),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_the_onnx_engine_says_what_it_cannot_run(what: str, folder_of: FolderOf, tmp_path: Path) -> None:
    change, reason = CONFIGURATIONS[what]
    folder = shutil.copytree(folder_of("asked"), tmp_path / "folder")
    configuration = json.loads((folder / "genai_config.json").read_text())
    change(configuration)
    (folder / "genai_config.json").write_text(json.dumps(configuration))
    with pytest.raises(LoadFailed, match=f"onnx engine cannot run folder: .*{reason}"):
        load(folder, PLACEMENT, lambda _: None)


GRAPHS = {
    "another input": (folders.want_something_else, "the graph wants 'gate'"),
    "another type": (folders.keep_entries_as_integers, "INVALID_GRAPH|tensor.int8."),
    "other attention": (
        lambda graph: [node.ClearField("op_type") for node in graph.node if node.op_type == "GroupQueryAttention"],
        "not GroupQueryAttention",
    ),
}


@pytest.mark.parametrize("what", GRAPHS)
def test_a_graph_of_another_kind_is_refused(what: str, folder_of: FolderOf, tmp_path: Path) -> None:
    change, reason = GRAPHS[what]
    folder = folders.changed(folder_of("asked"), tmp_path / "folder", change)
    with pytest.raises(LoadFailed, match=reason):
        load(folder, PLACEMENT, lambda _: None)


@pytest.mark.parametrize("engine", ["onnx", "genai"])
@pytest.mark.parametrize("content", [b"", b"GroupQueryAttention garbage" * 9], ids=["empty", "garbage"])
def test_a_graph_that_is_none_is_refused(engine: str, content: bytes, folder_of: FolderOf, tmp_path: Path) -> None:
    folder = shutil.copytree(folder_of("asked"), tmp_path / "folder")
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(LoadFailed, match="folder"):
        load_runner(engine, folder, PLACEMENT, lambda _: None)


def test_a_device_that_the_wheel_has_not_is_refused(folder_of: FolderOf) -> None:
    with pytest.raises(LoadFailed, match=r"pip install 'cupola\[cuda\]'"):
        load(folder_of("asked"), Placement(threads=1, device="cuda"), lambda _: None)
