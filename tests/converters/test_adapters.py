"""One adapter in four forms says what PEFT says: merged, as GGUF beside llama.cpp, and as inputs of a graph."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters import adapters, gguf_to_hf, gguf_to_onnx, hf_to_gguf, merge, peft_folder
from converters.blocks import Floats
from converters.quality import prose
from server.errors import InvalidValue, LoadFailed
from server.models.lineage import read_record
from server.models.lora_graph import GRAPH
from server.runners import load_runner
from server.runners.base import Placement, Segment

from .conftest import say
from .small import write
from .test_architectures import GEMMA3, LLAMA, PHI3, QWEN2, QWEN3

pytest.importorskip("peft")
from .lora import EVERY, FUSED, adapted, write_lora

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's

LENGTH = 100
SMALL = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3, "phi3": PHI3, "gemma3": GEMMA3}
OPTIONS: dict[str, dict[str, Any]] = {
    "llama": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"layers.1.mlp.up_proj": 3}, "use_rslora": True},
    "qwen2": {"target_modules": ["q_proj", "v_proj", "up_proj"]},
    "qwen3": {"target_modules": r".*\.(k_proj|o_proj|gate_proj)"},
    "phi3": {"target_modules": FUSED},
    "gemma3": {"target_modules": EVERY},
}


def says(engine: str, artifact: Path, tokens: list[int], adapter: Path | None = None, scale: float = 1.0) -> Floats:
    """Logits of every position."""
    placement = Placement(threads=1, slots=2, spin=False, context=256, adapters=adapter is not None)
    runner = load_runner(engine, artifact, placement, lambda _: None)
    number = None if adapter is None else runner.load_adapter(adapter, scale)
    batch = [Segment(1, tokens, 0, range(len(tokens)), adapter=number)]
    rows = runner.forward(batch).host(range(len(tokens))).copy()
    runner.close()
    return rows


def compare(base: Path, checkpoint: Path, adapter: Path, tokens: list[int], work: Path) -> dict[str, Floats]:
    """The logits of an adapter of `base`, a GGUF file of float32, and of the same as a checkpoint; and the base's."""
    graph = gguf_to_onnx.convert(base, work / "onnx", "fp32").folder
    gguf = adapters.to_gguf(adapter, base, work / "adapter-gguf").file
    onnx = adapters.to_onnx(adapter, graph, work / "adapter-onnx").file
    merged = merge.merge(checkpoint, adapter, work / "merged").folder
    return {
        "base": says("onnx", graph, tokens),
        "peft": adapted(checkpoint, adapter, tokens),
        "gguf": says("llama", base, tokens, gguf),
        "onnx": says("onnx", graph, tokens, onnx),
        "merged": adapted(merged, write_lora(merged, work / "silent", loud=0.0), tokens),
    }


@pytest.mark.parametrize("name", SMALL)
def test_every_architecture(name: str, tmp_path: Path) -> None:
    base = write(tmp_path / "small.gguf", replace(SMALL[name], layers=2))
    checkpoint = gguf_to_hf.convert(base, tmp_path / "checkpoint").folder
    adapter = write_lora(checkpoint, tmp_path / "adapter", loud=0.05, **OPTIONS[name])
    tokens = np.random.default_rng(1).integers(0, 250, LENGTH).tolist()
    found = compare(base, checkpoint, adapter, tokens, tmp_path)
    truth = found.pop("peft")
    far = {form: float(np.abs(rows - truth).max()) for form, rows in found.items()}
    say(f"{name}: {far}")
    assert far["base"] > 0.3
    assert max(far["onnx"], far["merged"]) < 2e-3
    assert far["gguf"] < 0.1


@pytest.mark.real
def test_three_forms_of_one_adapter_say_the_same(real_model: Path, tmp_path: Path) -> None:
    checkpoint = gguf_to_hf.convert(real_model, tmp_path / "checkpoint").folder
    base = hf_to_gguf.convert(checkpoint, tmp_path / "f32", "f32").file
    adapter = write_lora(checkpoint, tmp_path / "adapter")
    tokens = _tokens(real_model)
    found = compare(base, checkpoint, adapter, tokens, tmp_path)
    for one in found:
        say(f"{one}: {np.abs(found[one] - found['peft']).max():.4f} from PEFT")
    assert np.abs(found["base"] - found["peft"]).max() >= 1.0
    for form in ("merged", "gguf", "onnx"):
        np.testing.assert_allclose(found[form], found["peft"], atol=0.1)
        assert (found[form].argmax(axis=1) == found["peft"].argmax(axis=1)).all()


def _tokens(model: Path) -> list[int]:
    runner = load_runner("llama", model, Placement(threads=1, slots=1, context=256), lambda _: None)
    tokens = runner.tokenizer.encode(prose(), special=True)[:LENGTH]
    runner.close()
    return tokens


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base in three forms and an adapter of it."""
    root = tmp_path_factory.mktemp("adapters")
    base = write(root / "small.gguf", LLAMA)
    gguf_to_hf.convert(base, root / "checkpoint")
    gguf_to_onnx.convert(base, root / "onnx", "int8")
    write_lora(root / "checkpoint", root / "adapter", loud=0.05)
    return root


def test_a_scale_multiplies_what_is_added(small: Path, tmp_path: Path) -> None:
    tokens = list(range(40, 60))
    halved = shutil.copytree(small / "adapter", tmp_path / "halved")
    config = json.loads((halved / peft_folder.CONFIG).read_text())
    (halved / peft_folder.CONFIG).write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] / 2}))
    for engine, base, make in (
        ("llama", small / "small.gguf", adapters.to_gguf),
        ("onnx", small / "onnx", adapters.to_onnx),
    ):
        whole = make(small / "adapter", base, tmp_path / f"whole-{engine}").file
        half = make(halved, base, tmp_path / f"half-{engine}").file
        expected = says(engine, base, tokens, half)
        np.testing.assert_allclose(says(engine, base, tokens, whole, 0.5), expected, atol=1e-4)
        assert np.abs(says(engine, base, tokens, whole) - expected).max() > 0.05


def test_a_record_tells_the_history(small: Path, tmp_path: Path) -> None:
    made = adapters.to_gguf(small / "adapter", small / "small.gguf", tmp_path / "gguf")
    record = read_record(tmp_path / "gguf")
    assert record is not None
    assert (made.matrices, record.tensor_types) == (14, {"F32": 28})
    assert record.steps[-1].tool == "adapter-to-gguf"
    merge.merge(small / "checkpoint", small / "adapter", tmp_path / "merged")
    merged = read_record(tmp_path / "merged")
    assert merged is not None
    assert [step.tool for step in merged.steps] == ["gguf-to-hf", "merge"]
    assert set(merged.steps[-1].inputs) == {"checkpoint", "adapter"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"use_dora": True}, "has DoRA beside LoRA"),
        ({"bias": "all"}, "has biases beside LoRA"),
        ({"modules_to_save": ["lm_head"]}, "has whole modules"),
        ({"peft_type": "IA3"}, "is of the kind IA3"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base"),
        ({"lora_alpha": "much"}, "lora_alpha is much, not a number"),
        ({"alpha_pattern": {"(": 1}}, "is no pattern"),
        ({"alpha_pattern": {"a" * 400: 1}}, "more than 300 characters"),
    ],
)
def test_what_is_more_than_lora_is_refused(change: dict[str, Any], complaint: str, small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small / "adapter", tmp_path / "changed")
    config = json.loads((folder / peft_folder.CONFIG).read_text())
    (folder / peft_folder.CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(InvalidValue, match=complaint):
        adapters.to_gguf(folder, small / "small.gguf", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_pickles_are_refused(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small / "adapter", tmp_path / "pickled")
    (folder / peft_folder.WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InvalidValue, match="is a pickle"):
        peft_folder.read(folder)


def test_matrices_that_do_not_fit_are_refused(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small / "adapter", tmp_path / "changed")
    tensors = load_file(folder / peft_folder.WEIGHTS)
    one = next(name for name in tensors if "layers.0.self_attn.q_proj.lora_B" in name)
    for changed, complaint in (
        (tensors | {one: np.concatenate([tensors[one], tensors[one]])}, "is for another model"),
        (tensors | {one: np.full_like(tensors[one], np.nan)}, "not finite"),
        (tensors | {"base_model.model.lm_head.weight": np.zeros((4, 4), np.float32)}, "is no matrix of LoRA"),
        ({name.replace("layers.1", "layers.7"): tensor for name, tensor in tensors.items()}, "attention and MLP only"),
        ({name: tensor for name, tensor in tensors.items() if name != one}, "only one of the two"),
    ):
        save_file(changed, folder / peft_folder.WEIGHTS)
        for make, base in ((adapters.to_gguf, small / "small.gguf"), (adapters.to_onnx, small / "onnx")):
            with pytest.raises(InvalidValue, match=complaint):
                make(folder, base, tmp_path / "made")
    save_file(tensors, folder / peft_folder.WEIGHTS)
    (small_graph := shutil.copytree(small / "onnx", tmp_path / "old")).joinpath(GRAPH).unlink()
    with pytest.raises(InvalidValue, match="takes no adapters"):
        adapters.to_onnx(folder, small_graph, tmp_path / "made")


def test_engines_refuse_an_adapter_of_another_model(small: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.gguf", replace(LLAMA, hidden=32, head_size=16))
    gguf_to_onnx.convert(other, tmp_path / "other", "fp32")
    gguf = adapters.to_gguf(small / "adapter", small / "small.gguf", tmp_path / "gguf").file
    onnx = adapters.to_onnx(small / "adapter", small / "onnx", tmp_path / "onnx").file
    for engine, artifact, adapter in (("llama", other, gguf), ("onnx", tmp_path / "other", onnx)):
        with pytest.raises(LoadFailed):
            says(engine, artifact, [1, 2, 3], adapter)
    with pytest.raises(LoadFailed, match="is no LoRA adapter"):
        says("llama", small / "small.gguf", [1, 2, 3], small / "small.gguf")
    (tmp_path / "garbage.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    with pytest.raises(LoadFailed):
        says("llama", small / "small.gguf", [1, 2, 3], tmp_path / "garbage.gguf")
