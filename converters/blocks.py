"""ggml's quantised blocks, taken apart: small integers, scales and minima, without rounding.

A row of K weights is K / block blocks; a weight is `scale * (q - zero) + minimum`. The layouts and the order of the
elements are those of `dequantize_row_*` in https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float32]

SUPER = 256  # elements of a K-quant's block
NON_LINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int16)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of quantised weights.

    q: uint8 [rows, K]; scale: float32 [rows, K / block]; minimum: the same shape, or None where there is none.
    """

    q: Bytes
    scale: Floats
    minimum: Floats | None
    zero: int
    bits: int  # that q needs

    @property
    def block(self) -> int:
        return int(self.q.shape[1] // self.scale.shape[1])

    def dequantised(self) -> Floats:
        """float32 [rows, K], rounded as ggml rounds: the product, then the sum."""
        rows, width = self.q.shape
        centred = self.q.reshape(rows, -1, self.block).astype(np.float32) - np.float32(self.zero)
        values: Floats = centred * self.scale[:, :, None]
        if self.minimum is not None:
            values += self.minimum[:, :, None]
        return values.reshape(rows, width)


def decode(kind: str, raw: Bytes) -> Blocks | Floats:
    """Rows of raw bytes [rows, bytes of a row] of ggml type `kind`; float types as float32 [rows, K].

    Raises KeyError for a type that is not in `SUPPORTED`.
    """
    decoder = _FLOATS.get(kind)
    return decoder(raw) if decoder else _BLOCKS[kind](raw)


def _half(raw: Bytes) -> Floats:
    """Two bytes a number [..., 2 n] as float32 [..., n]."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _blocks(raw: Bytes, size: int) -> Bytes:
    return raw.reshape(raw.shape[0], -1, size)


def _nibbles(packed: Bytes) -> Bytes:
    """[..., n] bytes as [..., 2 n]: all low halves, then all high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _bits(packed: Bytes) -> Bytes:
    """[..., n] bytes as [..., 8 n] bits, the lowest first."""
    return np.unpackbits(packed, axis=-1, bitorder="little")


def _flat(values: Integers) -> Bytes:
    return np.ascontiguousarray(values.reshape(values.shape[0], -1), np.uint8)


def _q4_0(raw: Bytes) -> Blocks:
    b = _blocks(raw, 18)
    return Blocks(_flat(_nibbles(b[..., 2:])), _half(b[..., :2])[..., 0], None, 8, 4)


def _q4_1(raw: Bytes) -> Blocks:
    b = _blocks(raw, 20)
    return Blocks(_flat(_nibbles(b[..., 4:])), _half(b[..., :2])[..., 0], _half(b[..., 2:4])[..., 0], 0, 4)


def _q5_0(raw: Bytes) -> Blocks:
    b = _blocks(raw, 22)
    q = _nibbles(b[..., 6:]) | _bits(b[..., 2:6]) << 4
    return Blocks(_flat(q), _half(b[..., :2])[..., 0], None, 16, 5)


def _q5_1(raw: Bytes) -> Blocks:
    b = _blocks(raw, 24)
    q = _nibbles(b[..., 8:]) | _bits(b[..., 4:8]) << 4
    return Blocks(_flat(q), _half(b[..., :2])[..., 0], _half(b[..., 2:4])[..., 0], 0, 5)


def _q8_0(raw: Bytes) -> Blocks:
    b = _blocks(raw, 34)
    return Blocks(_flat(b[..., 2:] ^ 128), _half(b[..., :2])[..., 0], None, 128, 8)


def _iq4_nl(raw: Bytes) -> Blocks:
    b = _blocks(raw, 18)
    table = (NON_LINEAR + 128).astype(np.uint8)
    return Blocks(_flat(table[_nibbles(b[..., 2:])]), _half(b[..., :2])[..., 0], None, 128, 8)


def _iq4_xs(raw: Bytes) -> Blocks:
    b = _blocks(raw, 136)
    high = np.ascontiguousarray(b[..., 2:4]).view("<u2")
    number = np.arange(8)
    low = b[..., 4:8][..., number // 2] >> (4 * (number % 2)) & 15
    scales = (low | (high >> (2 * number) & 3) << 4).astype(np.float32) - 32
    table = (NON_LINEAR + 128).astype(np.uint8)
    q = table[_nibbles(b[..., 8:].reshape(*b.shape[:2], 8, 16))]
    return Blocks(_flat(q), _flat_scales(_half(b[..., :2]) * scales), None, 128, 8)


def _flat_scales(scales: Floats) -> Floats:
    return np.ascontiguousarray(scales.reshape(scales.shape[0], -1))


def _six_bit_scales(packed: Bytes) -> tuple[Floats, Floats]:
    """Scales and minima of the 8 sub-blocks of Q4_K and Q5_K from their 12 bytes."""
    first, second, third = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6) << 4], axis=-1)
    minima = np.concatenate([second & 63, third >> 4 | (second >> 6) << 4], axis=-1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _k_blocks(b: Bytes, q: Integers, bits: int) -> Blocks:
    """Q4_K and Q5_K: 8 sub-blocks of 32 with a scale and a minimum each."""
    scales, minima = _six_bit_scales(b[..., 4:16])
    scale = _flat_scales(_half(b[..., :2]) * scales)
    return Blocks(_flat(q), scale, _flat_scales(-(_half(b[..., 2:4]) * minima)), 0, bits)


def _q4_k(raw: Bytes) -> Blocks:
    b = _blocks(raw, 144)
    return _k_blocks(b, _nibbles(b[..., 16:].reshape(*b.shape[:2], 4, 32)), 4)


def _q5_k(raw: Bytes) -> Blocks:
    b = _blocks(raw, 176)
    low = _nibbles(b[..., 48:].reshape(*b.shape[:2], 4, 32)).reshape(*b.shape[:2], 8, 32)
    high = b[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return _k_blocks(b, low | high << 4, 5)


def _q6_k(raw: Bytes) -> Blocks:
    b = _blocks(raw, 210)
    low = _nibbles(b[..., :128].reshape(*b.shape[:2], 2, 64)).reshape(*b.shape[:2], 2, 4, 32)
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    high = b[..., 128:192].reshape(*b.shape[:2], 2, 1, 32) >> shifts & 3
    scales = np.ascontiguousarray(b[..., 192:208]).view(np.int8).astype(np.float32)
    return Blocks(_flat(low | high << 4), _flat_scales(_half(b[..., 208:]) * scales), None, 32, 6)


def _two_bits(packed: Bytes) -> Integers:
    """64 bytes of a block as its 256 two-bit numbers: [.., 2 halves, 4 shifts, 32]."""
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    return packed.reshape(*packed.shape[:2], 2, 1, 32) >> shifts & 3


def _q2_k(raw: Bytes) -> Blocks:
    b = _blocks(raw, 84)
    scale = _half(b[..., 80:82]) * (b[..., :16] & 15)
    minimum = -(_half(b[..., 82:]) * (b[..., :16] >> 4))
    return Blocks(_flat(_two_bits(b[..., 16:80])), _flat_scales(scale), _flat_scales(minimum), 0, 2)


def _q3_k(raw: Bytes) -> Blocks:
    b = _blocks(raw, 110)
    high = (b[..., None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1).reshape(*b.shape[:2], 2, 4, 32)
    low, packed = _two_bits(b[..., 32:96]), b[..., 96:108]
    number = np.arange(16)
    small = packed[..., number % 8] >> (4 * (number // 8)) & 15
    scales = (small | (packed[..., 8 + number % 4] >> (2 * (number // 4)) & 3) << 4).astype(np.float32) - 32
    return Blocks(_flat(low | high << 2), _flat_scales(_half(b[..., 108:]) * scales), None, 4, 3)


def _bf16(raw: Bytes) -> Floats:
    wide = np.ascontiguousarray(raw).view("<u2").astype(np.uint32) << 16
    return wide.view(np.float32)


_FLOATS: dict[str, Callable[[Bytes], Floats]] = {
    "F32": lambda raw: np.ascontiguousarray(raw).view("<f4").astype(np.float32),
    "F16": _half,
    "BF16": _bf16,
}
_BLOCKS: dict[str, Callable[[Bytes], Blocks]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
}
SUPPORTED = frozenset(_FLOATS) | frozenset(_BLOCKS)
