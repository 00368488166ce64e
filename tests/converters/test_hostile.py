"""Files that are whole, and whose values or tensors cannot be: refused by name, at once, with nothing left behind."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.architectures import describe, known_architectures
from converters.gguf_to_onnx import convert
from converters.tensors import Tensors
from server.errors import CupolaError, InvalidValue
from server.models import gguf
from server.models.gguf import Gguf

from .small import Small, write
from .test_architectures import GEMMA3, LLAMA, MODELS, PHI3, QWEN2
from .test_weights import WIDE, quantised

NAN, INFINITE = float("nan"), float("inf")
ARRAY = np.array([4, 4], np.uint32)
WORDS: list[str] = ["a", "b"]
# By architecture: a key under its prefix, and values that it cannot have.
VALUES: list[tuple[Small, str, list[Any]]] = [
    (LLAMA, "block_count", [0, -1, 1 << 31, "2", 2.5, NAN, True, None, ARRAY, WORDS]),
    (LLAMA, "embedding_length", [0, -64, 1 << 40, "64", None, ARRAY]),
    (LLAMA, "attention.head_count", [0, -4, 1 << 20, 3, 7, None, "4", np.array([4, 2], np.uint32), WORDS]),
    (LLAMA, "attention.head_count_kv", [0, 3, 5, -2, "2", np.array([2, 1]), np.array([NAN, NAN]), ARRAY[:0]]),
    (LLAMA, "attention.key_length", [0, 17, 1 << 20, "16", ARRAY]),
    (LLAMA, "attention.value_length", [0, 32, "16", ARRAY, np.array([16, 16], np.uint32), WORDS]),
    (LLAMA, "feed_forward_length", [0, 95, 1 << 60, NAN, None]),
    (LLAMA, "context_length", [0, -1, 1 << 40, NAN, "many", None, ARRAY]),
    (LLAMA, "attention.layer_norm_rms_epsilon", [NAN, INFINITE, 0.0, -1e-5, 1.0, "1e-5", 1, ARRAY]),
    (LLAMA, "rope.freq_base", [NAN, INFINITE, 0.0, -1e4, 1e30, "1e4", 10000, ARRAY]),
    (LLAMA, "rope.dimension_count", [0, 8, 17, 32, 1 << 20, "16", ARRAY]),
    (LLAMA, "rope.scaling.type", ["yarn", "", 1, ARRAY, WORDS, True]),
    (LLAMA, "rope.scaling.factor", [NAN, INFINITE, -1.0, 1e30, "4", ARRAY]),
    (QWEN2, "rope.dimension_count", [8, 15, 32]),
    (GEMMA3, "attention.sliding_window", [-1, 1 << 40, "12", NAN, ARRAY]),
    (GEMMA3, "attention.sliding_window_pattern", [0, -1, "6", ARRAY, np.zeros(3, np.bool_)]),
    (GEMMA3, "final_logit_softcapping", [NAN, -1.0, INFINITE, "30"]),
    (GEMMA3, "rope.freq_base_swa", [NAN, 0.0, "x", ARRAY]),
    (PHI3, "attention.sliding_window", [-5, "x", NAN, ARRAY, WORDS]),
    (MODELS["phi3 with factors"], "rope.scaling.attn_factor", [NAN, INFINITE, 0.0, -1.0, "1", ARRAY]),
    (MODELS["phi3 with factors"], "rope.scaling.original_context_length", [0, -1, "x", NAN, ARRAY]),
]


def changed(file: Gguf, key: str, value: Any) -> Gguf:
    metadata = dict(file.metadata)
    metadata.pop(f"{file.architecture}.{key}", None)
    if value is not None:
        metadata[f"{file.architecture}.{key}"] = value
    return replace(file, metadata=metadata)


@pytest.mark.parametrize(
    ("model", "key", "values"), VALUES, ids=[f"{model.architecture} {key}" for model, key, _ in VALUES]
)
def test_a_value_that_cannot_be_is_refused(model: Small, key: str, values: list[Any], tmp_path: Path) -> None:
    file = gguf.read(write(tmp_path / "small.gguf", model))
    Tensors(file, describe(file))
    for value in values:
        hostile = changed(file, key, value)
        start = time.process_time()
        with pytest.raises(InvalidValue) as caught:
            Tensors(hostile, describe(hostile))
        assert time.process_time() - start < 1, value
        assert "small.gguf" in caught.value.message
        assert len(caught.value.message) < 400


@pytest.mark.parametrize("architecture", ["mamba", "", "common", "../llama", "llama4", "x" * 10_000])
def test_an_unknown_architecture_lists_the_known_ones(architecture: str, tmp_path: Path) -> None:
    file = gguf.read(write(tmp_path / "small.gguf", LLAMA))
    file.metadata["general.architecture"] = architecture
    with pytest.raises(InvalidValue, match=", ".join(known_architectures())) as caught:
        describe(file)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("name", ["llama with biases", "qwen3", "gemma3", "phi3"])
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    file = gguf.read(write(tmp_path / "small.gguf", MODELS[name]))
    optional = {"output.weight", "blk.0.attn_q.bias"}  # which say by their absence that there is none
    for tensor in file.tensors.keys() - optional:
        others = replace(file, tensors={name: info for name, info in file.tensors.items() if name != tensor})
        with pytest.raises(InvalidValue, match=f"no tensor '{tensor}'"):
            Tensors(others, describe(others))


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    file = gguf.read(write(tmp_path / "small.gguf", MODELS["llama with biases"]))
    for name, info in file.tensors.items():
        for shape in (info.shape[::-1] if len(info.shape) > 1 else (1, *info.shape), (*info.shape, 1), info.shape[:-1]):
            if shape == info.shape:
                continue
            hostile = replace(file, tensors=file.tensors | {name: replace(info, shape=shape)})
            with pytest.raises(InvalidValue, match=f"{name} is "):
                Tensors(hostile, describe(hostile))


def test_a_tensor_that_would_be_left_out_is_named(tmp_path: Path) -> None:
    """An adapter, a layer too many, an expert: without them the model would speak, and badly."""
    for name in ("blk.2.attn_q.weight", "blk.0.attn_output.bias", "blk.0.ffn_gate_exps.weight", "output.bias"):
        model = write(tmp_path / "small.gguf", replace(LLAMA, extra={name: np.ones((2, 2))}))
        with pytest.raises(InvalidValue, match=f"as '{name}'"):
            convert(model, tmp_path / "folder")


def test_a_type_that_does_not_convert_lists_those_that_do(tmp_path: Path) -> None:
    file = gguf.read(write(tmp_path / "small.gguf", LLAMA))
    info = file.tensors["output.weight"]
    hostile = replace(file, tensors=file.tensors | {"output.weight": replace(info, kind="IQ1_S")})
    with pytest.raises(InvalidValue, match=r"type IQ1_S\. Those that convert: BF16, F16, F32, IQ4_NL"):
        Tensors(hostile, describe(hostile))


@pytest.mark.parametrize("number", [NAN, INFINITE])
def test_weights_that_are_no_numbers_are_refused(number: float, tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "small.gguf", LLAMA).read_bytes())
    file = gguf.read(tmp_path / "small.gguf")
    for name in ("token_embd.weight", "blk.1.ffn_norm.weight", "output.weight"):
        at = file.tensors[name].offset + 8
        spoilt = bytes(content[:at]) + np.float32(number).tobytes() + bytes(content[at + 4 :])
        (tmp_path / "spoilt.gguf").write_bytes(spoilt)
        with pytest.raises(InvalidValue, match=f"{name} has weights that are not finite"):
            convert(tmp_path / "spoilt.gguf", tmp_path / "out" / "folder")
        assert list((tmp_path / "out").iterdir()) == []


def test_factors_that_are_no_divisors_are_refused(tmp_path: Path) -> None:
    for factors in ([0.0] * 8, [-1.0] * 8, [NAN] * 8, [INFINITE] * 8, [1.0] * 7):
        file = gguf.read(write(tmp_path / "small.gguf", replace(LLAMA, extra={"rope_freqs.weight": factors})))
        with pytest.raises(InvalidValue, match=r"rope_freqs\.weight"):
            describe(file)


@pytest.fixture(scope="module", params=["llama", "gemma3", "phi3 with factors", "Q4_1", "Q4_K", "Q6_K"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """A file's content, and where its weights begin."""
    file = tmp_path_factory.mktemp("fuzz") / "model.gguf"
    if request.param in MODELS:
        write(file, replace(MODELS[request.param], layers=2))
    else:
        write(file, WIDE, quantised(request.param))
    return file.read_bytes(), min(info.offset for info in gguf.read(file).tensors.values())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_is_more_than_an_error(data: st.DataObject, whole: tuple[bytes, int], tmp_path: Path) -> None:
    """Bytes of the header or of the weights change: a folder comes of it, or an error of ours, within a second."""
    content, start = bytearray(whole[0]), whole[1]
    places = st.integers(0, start - 1) | st.integers(start, len(content) - 1)
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=3)):
        content[at] = byte
    (tmp_path / "model.gguf").write_bytes(content)
    target = tmp_path / str(time.monotonic_ns())
    began = time.process_time()
    try:
        convert(tmp_path / "model.gguf", target)
        assert target.is_dir()
    except CupolaError:
        assert not target.exists()
    assert time.process_time() - began < 1
