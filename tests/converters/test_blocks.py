"""Blocks of every type, random ones, taken apart here and by the `gguf` package: the same numbers, bit for bit."""

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.blocks import SUPPORTED, Blocks, decode
from converters.tensors import as_floats
from server.models.gguf import TYPES

# Where a block has its 16-bit floats, in bytes from its start.
HALVES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
}
FLOATS = {"F32": 4, "F16": 2, "BF16": 2}


def random_blocks(kind: str, rows: int, blocks: int, seed: int) -> npt.NDArray[np.uint8]:
    """Rows of valid blocks [rows, bytes]: any bytes, with scales that are finite and of many magnitudes."""
    source = np.random.default_rng(seed)
    if kind in FLOATS:
        return source.standard_normal((rows, blocks * 32)).astype(np.float32).view(np.uint8).reshape(rows, -1)
    size = TYPES_BY_NAME[kind][1]
    raw = source.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = source.standard_normal((rows, blocks, 1)) * 10.0 ** source.integers(-7, 3, (rows, blocks, 1))
        raw[..., at : at + 2] = scales.astype("<f2").view(np.uint8)
    return raw.reshape(rows, -1)


TYPES_BY_NAME = {name: (elements, size) for name, elements, size in TYPES.values()}


def test_every_type_is_tried() -> None:
    assert HALVES.keys() | FLOATS.keys() == SUPPORTED


def test_sizes_are_those_of_ggml() -> None:
    theirs = {kind.name: GGML_QUANT_SIZES[kind] for kind in GGMLQuantizationType}
    # The package has an older Q8_1, of 40 bytes; no file holds any: it is for activations.
    known = {name: size for name, size in TYPES_BY_NAME.items() if name in theirs and name != "Q8_1"}
    assert len(known) >= 25
    assert known == {name: theirs[name] for name in known}


@pytest.mark.parametrize("kind", sorted(SUPPORTED))
@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4), blocks=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_blocks_are_those_of_ggml(kind: str, rows: int, blocks: int, seed: int) -> None:
    raw = random_blocks(kind, rows, blocks, seed)
    found = decode(kind, raw)
    expected = dequantize(raw, GGMLQuantizationType[kind])
    assert as_floats(found).shape == expected.shape
    assert as_floats(found).tobytes() == expected.astype(np.float32).tobytes()
    if isinstance(found, Blocks):
        assert int(found.q.max()) < 2**found.bits
        assert found.scale.shape == (rows, found.q.shape[1] // found.block)
