"""The numbers in a folder are those of the file: bit for bit where that is promised, else to half a step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize

from converters.blocks import SUPPORTED
from converters.gguf_to_onnx import Outcome, convert
from converters.weights import Precision
from server.models import gguf
from server.models.gguf import Gguf

from .conftest import say
from .small import Small, write
from .stored import StoredModel
from .test_blocks import FLOATS, random_blocks

MINIMA = {"Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"}  # the types that 8 bits cannot hold
SLAB = 16_384
WIDE = Small("qwen2", layers=1, hidden=256, feed_forward=256, head_size=64, biased=True, cut="qwen2")


def original(file: Gguf, name: str, heads_of: dict[str, int]) -> npt.NDArray[np.float32]:
    """A tensor as ggml reads it; Q and K of a llama in halves."""
    info = file.tensors[name]
    raw = file.raw(info).reshape(info.shape[0], -1)
    values: npt.NDArray[np.float32] = dequantize(raw, GGMLQuantizationType[info.kind]).astype(np.float32)
    heads = heads_of.get(name.split(".")[-2])
    if heads is None:
        return values
    rows, width = values.shape
    return values.reshape(heads, rows // heads // 2, 2, width).transpose(0, 2, 1, 3).reshape(rows, width)


def compare(source: Path, outcome: Outcome, heads_of: dict[str, int]) -> tuple[int, int]:
    """Hold every matrix against the file. How many were equal in all bits, and how many near."""
    stored, file = StoredModel(outcome.folder), gguf.read(source)
    kinds = {name: info.kind for name, info in file.tensors.items() if len(info.shape) == 2}
    seen: list[str] = []
    for name, tensors in stored.matrices().items():
        start = 0
        for tensor in tensors:
            expected = original(file, tensor, heads_of)
            for at in range(0, len(expected), SLAB):
                part = expected[at : at + SLAB]
                found = stored.rows(name, start + at, start + at + len(part))
                if tensor in outcome.rounded:
                    assert_near(found, part, stored.scales(name)[start + at : start + at + len(part)])
                else:
                    assert found.tobytes() == part.tobytes() or np.array_equal(found, part), tensor
            start += len(expected)
            seen.append(tensor)
    assert sorted(seen) == sorted(kinds), "every matrix of the file, once"
    assert sorted(outcome.rounded) == sorted(name for name, kind in kinds.items() if kind in MINIMA)
    return len(seen) - len(outcome.rounded), len(outcome.rounded)


def assert_near(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], scales: Any) -> None:
    """Half a step of 8 bits off, and 16 bits' rounding of the scale; the steps are finer than 1 / 60 of the extreme."""
    blocks = expected.reshape(len(expected), -1, 32)
    error = np.abs(found.reshape(blocks.shape) - blocks)
    extreme = np.abs(blocks).max(axis=-1)
    assert (error.max(axis=-1) <= np.abs(scales) * 0.51 + extreme * 2**-11 + 1e-12).all()
    assert (np.abs(scales) <= extreme / 60 + 1e-12).all()


@pytest.mark.real
def test_the_default_model_keeps_its_numbers(real_model: Path, tmp_path: Path) -> None:
    outcome = convert(real_model, tmp_path / "folder")
    equal, near = compare(real_model, outcome, {"attn_q": 9, "attn_k": 3})
    say(f"{equal} matrices equal, {near} near")


@pytest.mark.real
@pytest.mark.timeout(240)
def test_a_model_of_mixed_types_keeps_its_numbers(coder_model: Path, coder_outcome: Outcome) -> None:
    equal, near = compare(coder_model, coder_outcome, {})
    say(f"{equal} matrices equal, {near} near")
    assert equal > near


def quantised(kind: str) -> Any:
    """A change for `small.write`: every matrix of the model has this type."""

    def change(writer: GGUFWriter) -> None:
        add = writer.add_tensor

        def add_tensor(name: str, values: npt.NDArray[np.float32]) -> None:
            if values.ndim < 2:
                add(name, values)
                return
            raw = random_blocks(kind, len(values), values.shape[1] // 256 * (8 if kind in SIMPLE else 1), len(name))
            add(name, raw, raw_dtype=GGMLQuantizationType[kind])

        writer.add_tensor = add_tensor  # type: ignore[method-assign, assignment]

    return change


SIMPLE = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"}  # blocks of 32


@pytest.mark.parametrize("kind", sorted(SUPPORTED - FLOATS.keys()))
def test_every_type_keeps_its_numbers(kind: str, tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", WIDE, quantised(kind))
    assert {info.kind for info in gguf.read(model).tensors.values() if len(info.shape) == 2} == {kind}
    equal, near = compare(model, convert(model, tmp_path / "folder"), {})
    assert (near if kind in MINIMA else equal) == 8


@pytest.mark.parametrize(("precision", "bits"), [("int4", 4), ("int8", 8), ("fp16", 16), ("fp32", 32)])
def test_a_precision_is_that_of_every_matrix(precision: Precision, bits: int, tmp_path: Path) -> None:
    model = write(tmp_path / "small.gguf", replace(WIDE, tied=False))
    outcome = convert(model, tmp_path / "folder", precision)
    stored = StoredModel(outcome.folder)
    names = stored.matrices()
    kinds = {stored.initializers[f"{name}.weight"].data_type for name in names}
    if bits >= 16:
        assert kinds == {10 if bits == 16 else 1}
    else:
        widths = {stored.initializers[f"{name}.weight"].dims[2] for name in names}
        assert widths == {32 * bits // 8}
    assert len(outcome.rounded) == (0 if precision == "fp32" else 9)
