"""LoRA adapters, bound as inputs of the graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from server.errors import LoadFailed
from server.runners import load_runner
from server.runners.base import FloatRows, ModelRunner, Placement, Segment

from .conftest import FolderOf
from .folders import write_adapter

PLACEMENT = Placement(threads=1, slots=6)
TOKENS = np.random.default_rng(0).integers(0, 250, 90).tolist()
# GenAI wants matrices of rank 0 for the model as it is; the onnx engine makes them where the graph has none.
ADAPTABLE = [("onnx", "adapted"), ("onnx", "adapted by default"), ("genai", "adapted by default")]


@pytest.fixture
def load(folder_of: FolderOf) -> Callable[[str, str], ModelRunner]:
    return lambda engine, kind: load_runner(engine, folder_of(kind), PLACEMENT, lambda _: None)


def says(runner: ModelRunner, slot: int, adapter: int | None, tokens: list[int] = TOKENS) -> FloatRows:
    """Logits after a prompt and two steps."""
    runner.truncate(slot, 0)
    prompt = Segment(slot, tokens[:-2], 0, range(0), adapter=adapter)
    runner.forward([prompt])
    for start in range(len(tokens) - 2, len(tokens)):
        logits = runner.forward([Segment(slot, [tokens[start]], start, range(1), adapter=adapter)])
    row: FloatRows = logits.host([0])[0].copy()
    return row


@pytest.mark.parametrize(("engine", "kind"), ADAPTABLE)
def test_an_adapter_changes_what_is_said_and_leaves_the_model_as_it_is(
    engine: str, kind: str, load: Callable[[str, str], ModelRunner], tmp_path: Path
) -> None:
    plain = load("onnx", "asked")
    expected = says(plain, 0, None)
    plain.close()
    runner = load(engine, kind)
    first, second = (runner.load_adapter(write_adapter(tmp_path / f"{i}.onnx_adapter", i, rank=4 + i)) for i in (1, 2))
    heard = [says(runner, slot, adapter) for slot, adapter in enumerate((None, first, second, None))]
    np.testing.assert_allclose(heard[0], expected, atol=1e-4)
    np.testing.assert_array_equal(heard[3], heard[0])
    assert min(np.abs(a - b).max() for a, b in ((heard[0], heard[1]), (heard[1], heard[2]), (heard[0], heard[2]))) > 1
    runner.close()


def test_both_engines_hear_the_same(load: Callable[[str, str], ModelRunner], tmp_path: Path) -> None:
    file = write_adapter(tmp_path / "a.onnx_adapter", 7)
    heard = []
    for engine in ("onnx", "genai"):
        runner = load(engine, "adapted by default")
        heard.append(says(runner, 0, runner.load_adapter(file)))
        runner.close()
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-4)


def test_sequences_with_different_adapters_step_together(
    load: Callable[[str, str], ModelRunner], tmp_path: Path
) -> None:
    runner = load("onnx", "adapted")
    numbers = [runner.load_adapter(write_adapter(tmp_path / f"{i}.onnx_adapter", i)) for i in (1, 2)]
    wanted = [None, numbers[0], numbers[1], None, numbers[0], None]
    prompts = [TOKENS[slot : slot + 40 + slot] for slot in range(6)]
    alone = []
    for slot, adapter in enumerate(wanted):
        runner.truncate(0, 0)
        runner.forward([Segment(0, prompts[slot], 0, range(0), adapter=adapter)])
        alone.append(
            runner.forward([Segment(0, [9], len(prompts[slot]), range(1), adapter=adapter)]).host([0])[0].copy()
        )
    runner.truncate(0, 0)
    runner.forward([Segment(slot, prompts[slot], 0, range(0), adapter=wanted[slot]) for slot in range(6)])
    for _ in range(2):  # the second time in rows that have been rearranged
        logits = runner.forward([Segment(s, [9], len(prompts[s]), range(1), adapter=wanted[s]) for s in range(6)])
        for slot in range(6):
            np.testing.assert_allclose(logits.host([slot])[0], alone[slot], atol=1e-5)
            runner.truncate(slot, len(prompts[slot]))
    runner.close()


@pytest.mark.parametrize("engine", ["onnx", "genai"])
def test_what_is_no_adapter_is_refused(engine: str, load: Callable[[str, str], ModelRunner], tmp_path: Path) -> None:
    runner = load(engine, "adapted by default")
    (tmp_path / "garbage.onnx_adapter").write_bytes(b"garbage" * 50)
    for name in ("garbage.onnx_adapter", "missing.onnx_adapter"):
        with pytest.raises(LoadFailed, match=name):
            runner.load_adapter(tmp_path / name)
    assert says(runner, 0, None).shape == (runner.info.vocab_size,)
    runner.close()


def test_an_adapter_of_another_model_is_refused(load: Callable[[str, str], ModelRunner], tmp_path: Path) -> None:
    runner = load("onnx", "adapted")
    strange = write_adapter(tmp_path / "strange.onnx_adapter", 1, names=("layers.9.o.lora_A.weight", "x.lora_B.weight"))
    with pytest.raises(LoadFailed, match=r"another model: this one has no 'layers\.9\.o\.lora_A\.weight'"):
        runner.load_adapter(strange)
    turned = write_adapter(
        tmp_path / "b.onnx_adapter", 1, names=("layers.0.o.lora_B.weight", "layers.0.o.lora_A.weight")
    )
    with pytest.raises(LoadFailed, match=r"layers\.0\.o\.lora_A\.weight is \[4, 64\], and the graph takes"):
        runner.load_adapter(turned)
    runner.close()


@pytest.mark.parametrize(("engine", "reason"), [("fake", "no weights"), ("onnx", "takes no adapters")])
def test_an_engine_that_cannot_says_so(engine: str, reason: str, folder_of: FolderOf, tmp_path: Path) -> None:
    artifact = folder_of("asked") if engine == "onnx" else None
    runner = load_runner(engine, artifact, PLACEMENT, lambda _: None)
    with pytest.raises(LoadFailed, match=reason):
        runner.load_adapter(write_adapter(tmp_path / "a.onnx_adapter", 1))
    runner.close()
