"""Every architecture on small random models: the graph, the NumPy forward and llama.cpp have to say the same.

Weights are float32, so what is left between the three is rounding, and llama.cpp's KV entries in 16 bits.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import quality, reference
from converters.architectures import describe, known_architectures
from converters.gguf_to_onnx import convert
from server.models import gguf
from server.runners.base import Segment

from .conftest import load, say
from .small import Small, write

LENGTH = 100
FACTORS = [1.0 + 0.5 * i for i in range(8)]
LLAMA = Small("llama", tied=False, keys={"rope.dimension_count": 16})
QWEN2 = Small("qwen2", biased=True, keys={"rope.freq_base": 1e6}, cut="qwen2")
QWEN3 = Small("qwen3", head_size=32, head_norms=True, keys={"rope.freq_base": 1e6}, cut="qwen2")
GEMMA3 = Small(
    "gemma3",
    layers=7,
    heads=2,
    kv_heads=1,
    head_size=32,
    head_norms=True,
    post_norms=True,
    pieces=True,
    keys={"attention.sliding_window": 12, "rope.freq_base": 1e6},
)
PHI3 = Small("phi3", heads=2, head_size=32, kv_heads=2, fused=True, pieces=True, keys={"rope.freq_base": 1e4})
LONG = {"rope_factors_short.weight": FACTORS, "rope_factors_long.weight": [9.0] * 8}
MODELS = {
    "llama": LLAMA,
    "llama with grouped queries of one head": replace(LLAMA, kv_heads=1),
    "llama with biases": replace(LLAMA, biased=True),
    "llama with linear scaling": replace(LLAMA, keys=LLAMA.keys | {"rope.scaling.factor": 4.0}),
    "llama with factors": replace(LLAMA, extra={"rope_freqs.weight": FACTORS}),
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma3": GEMMA3,
    "gemma3 of 27 billion": replace(GEMMA3, layers=62, hidden=32),
    "gemma3 with linear scaling": replace(
        GEMMA3, keys=GEMMA3.keys | {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    ),
    "gemma3 with a pattern and a cap": replace(
        GEMMA3, keys=GEMMA3.keys | {"attention.sliding_window_pattern": 2, "final_logit_softcapping": 2.0}
    ),
    "gemma3 without a window": replace(GEMMA3, keys={"rope.freq_base": 1e6}),
    "phi3": PHI3,
    "phi3 with a partial rotation": replace(PHI3, keys=PHI3.keys | {"rope.dimension_count": 16}),
    "phi3 with factors": replace(
        PHI3,
        context=1024,
        keys=PHI3.keys
        | {
            "rope.dimension_count": 16,
            "rope.scaling.original_context_length": 256,
            "rope.scaling.attn_factor": 1.19,
        },
        extra=LONG,
    ),
}


def test_every_architecture_is_tried() -> None:
    assert {model.architecture for model in MODELS.values()} == set(known_architectures())


@pytest.mark.parametrize("name", MODELS)
def test_three_engines_agree(name: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    model = write(tmp_path / "small.gguf", MODELS[name])
    outcome = convert(model, tmp_path / "folder")
    assert outcome.rounded == ()
    tokens = np.random.default_rng(1).integers(0, 250, LENGTH).tolist()
    truth = reference.logits(gguf.read(model), tokens, range(LENGTH))
    onnx, llama = load("onnx", outcome.folder, 256), load("llama", model, 256)
    rows = np.concatenate([part.copy() for part in quality.RunnerReference(onnx, "").rows(tokens, 64)])
    against = quality.compare(llama, onnx, tokens)
    onnx.close()
    llama.close()
    say(f"{name}: {np.abs(rows - truth).max():.1e} in logits of {truth.std():.1f}, KL {against.kl_mean:.1e}")
    assert truth.std() > 0.5, "logits that are all alike prove nothing"
    np.testing.assert_allclose(rows, truth, atol=5e-4)
    assert against.kl_mean < 1e-4
    assert against.top1 >= 0.97


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3", "phi3 with factors"])
def test_a_decode_sees_what_a_prompt_does(name: str, tmp_path: Path) -> None:
    """One token with a past runs another kernel, with a window of its own."""
    model = write(tmp_path / "small.gguf", MODELS[name])
    convert(model, tmp_path / "folder")
    tokens = np.random.default_rng(2).integers(0, 250, 40).tolist()
    truth = reference.logits(gguf.read(model), tokens, range(40))
    runner = load("onnx", tmp_path / "folder", 256)
    for position, token in enumerate(tokens):
        row = runner.forward([Segment(0, [token], position, range(1))]).host([0])[0]
        np.testing.assert_allclose(row, truth[position], atol=5e-4)
    runner.close()


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a window that is one wider": ("gemma3", {"attention.sliding_window": 13}),
    "a layer more that sees everything": ("gemma3", {"attention.sliding_window_pattern": 3}),
    "another base": ("qwen2", {"rope.freq_base": 5e5}),
    "a context stretched by 4 %": ("llama", {"rope.scaling.factor": 1.04}),
    "half of each head rotated": ("phi3", {"rope.dimension_count": 16}),
    "another epsilon": ("qwen3", {"attention.layer_norm_rms_epsilon": 0.05}),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_agreement_above_would_show(what: str, tmp_path: Path) -> None:
    """A model that is wrong in one value differs by far more than the three engines do."""
    name, keys = WRONG[what]
    right, model = (
        gguf.read(write(tmp_path / f"{number}.gguf", small))
        for number, small in enumerate((MODELS[name], replace(MODELS[name], keys=MODELS[name].keys | keys)))
    )
    tokens = np.random.default_rng(1).integers(0, 250, LENGTH).tolist()
    rows, others = (reference.logits(file, tokens, range(LENGTH)) for file in (right, model))
    difference = quality.divergence(rows, others).mean()
    say(f"{what}: KL {difference:.1e}")
    assert difference > 1e-3


def test_what_is_written_is_what_is_described(tmp_path: Path) -> None:
    for name, model in MODELS.items():
        decoder = describe(gguf.read(write(tmp_path / f"{name}.gguf", model)))
        assert decoder.shapes() == model.shapes()


def test_a_stretched_context_ends_where_its_short_factors_do(tmp_path: Path) -> None:
    outcome = convert(write(tmp_path / "small.gguf", MODELS["phi3 with factors"]), tmp_path / "folder")
    assert outcome.notes == ("context of 256 tokens",)
