"""Encoders made ONNX: what is refused, and that nothing is left then. The result is compared in tests/runners."""

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import safetensors_file
from converters.encoder_to_onnx import convert
from server.errors import InvalidValue
from server.runners import load_model
from server.runners.base import Placement

HIDDEN, WIDE, LAYERS, WORDS, PLACES = 8, 16, 2, 20, 12
CONFIG = {
    "model_type": "bert",
    "hidden_size": HIDDEN,
    "intermediate_size": WIDE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "vocab_size": WORDS,
    "max_position_embeddings": PLACES,
}
TOKENIZER = {
    "version": "1.0",
    "model": {
        "type": "WordPiece",
        "unk_token": "a",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 99,
        "vocab": {chr(97 + i): i for i in range(WORDS)},
    },
}
Write = Callable[[np.ndarray[Any, Any]], bytes]
KINDS: dict[str, Write] = {
    "F32": lambda x: x.astype("<f4").tobytes(),
    "F16": lambda x: x.astype("<f2").tobytes(),
    "BF16": lambda x: (x.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(),
    "F64": lambda x: x.astype("<f8").tobytes(),
}


def shapes() -> dict[str, tuple[int, ...]]:
    norm = {"LayerNorm.weight": (HIDDEN,), "LayerNorm.bias": (HIDDEN,)}
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": (PLACES, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    } | {f"embeddings.{name}": shape for name, shape in norm.items()}
    sizes = {f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
    sizes |= {"attention.output.dense": (HIDDEN, HIDDEN), "intermediate.dense": (WIDE, HIDDEN)}
    sizes |= {"output.dense": (HIDDEN, WIDE)}
    for layer in range(LAYERS):
        for name, shape in sizes.items():
            found[f"encoder.layer.{layer}.{name}.weight"] = shape
            found[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
        for block in ("attention.output", "output"):
            found |= {f"encoder.layer.{layer}.{block}.{name}": shape for name, shape in norm.items()}
    return found


def write(folder: Path, kind: str = "F32", prefix: str = "", config: dict[str, object] | None = None) -> Path:
    """A folder with a tiny random encoder."""
    random = np.random.default_rng(0)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, shape in shapes().items():
        data = KINDS[kind](random.standard_normal(shape))
        header[prefix + name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(packed(header) + body)
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return folder


def packed(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def vectors(folder: Path) -> np.ndarray[Any, Any]:
    encoder: Any = load_model("onnx", folder, Placement(threads=1), lambda _: None)
    found: np.ndarray[Any, Any] = encoder.encode([[1, 2, 3], [4, 5, 6, 7, 8]])
    encoder.close()
    return found


@pytest.mark.parametrize(("kind", "prefix"), [("F16", ""), ("BF16", "bert."), ("F64", "")])
def test_every_kind_of_weight_is_read(tmp_path: Path, kind: str, prefix: str) -> None:
    convert(write(tmp_path / "wide"), tmp_path / "wide-onnx")
    made = convert(write(tmp_path / "other", kind, prefix), tmp_path / "other-onnx")
    np.testing.assert_allclose(vectors(made.folder), vectors(tmp_path / "wide-onnx"), atol=0.05)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "xlm-roberta"}, "'xlm-roberta' cannot be converted; encoders are bert"),
        ({"hidden_act": "relu"}, "activation relu"),
        ({"position_embedding_type": "relative_key"}, "relative_key positions"),
        ({"num_attention_heads": 3}, "3 heads do not divide 8"),
        ({"num_hidden_layers": 3}, r"no tensor encoder\.layer\.2\."),
        ({"intermediate_size": 17}, r"shape \[16, 8\], not \[17, 8\]"),
        ({"vocab_size": 10**12}, "does not describe an encoder"),
    ],
)
def test_what_it_cannot_convert_it_names_and_leaves_nothing(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    source = write(tmp_path / "source", config=change)
    with pytest.raises(InvalidValue, match=reason):
        convert(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_weights_that_are_code_are_not_read(tmp_path: Path) -> None:
    source = write(tmp_path / "source")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(InvalidValue, match=r"no model\.safetensors"):
        convert(source, tmp_path / "target")


ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
HOSTILE = {
    "empty": b"",
    "a header of petabytes": struct.pack("<Q", 1 << 60) + b"{}",
    "a header past the end": struct.pack("<Q", 3) + b"{}",
    "no JSON": struct.pack("<Q", 2) + b"{]",
    "a list": packed([]),
    "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "bytes past the end": packed({"x": ENTRY}) + b"\0" * 15,
    "fewer bytes than the shape": packed({"x": ENTRY | {"data_offsets": [0, 12]}}) + b"\0" * 16,
    "backwards": packed({"x": ENTRY | {"data_offsets": [16, 0]}}) + b"\0" * 16,
    "a negative shape": packed({"x": ENTRY | {"shape": [-4]}}) + b"\0" * 16,
    "a huge shape": packed({"x": ENTRY | {"shape": [1 << 40, 1 << 40]}}) + b"\0" * 16,
    "another shape": packed({"x": ENTRY | {"shape": [2, 2]}}) + b"\0" * 16,
    "integers": packed({"x": ENTRY | {"dtype": "I32"}}) + b"\0" * 16,
    "no such tensor": packed({"y": ENTRY}) + b"\0" * 16,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InvalidValue, match=r"x\.safetensors"):
        safetensors_file.read(tmp_path / "x.safetensors").floats("x", 4)


@given(noise=st.binary(max_size=200), place=st.integers(0, 80))
def test_noise_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    good = packed({"x": ENTRY}) + np.ones(4, "<f4").tobytes()
    path = tmp_path_factory.mktemp("noise") / "x.safetensors"
    path.write_bytes(good[:place] + noise + good[place + len(noise) :])
    with suppress(InvalidValue):
        assert safetensors_file.read(path).floats("x", 4).shape == (4,)
