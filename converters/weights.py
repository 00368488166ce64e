"""What a weight is stored as: blocks that MatMulNBits computes with, or floats; and the one file they all go to.

`exact` keeps ggml's integers: types whose blocks have a scale alone map onto 4 or 8 bits without rounding (Q4_0 and
Q3_K in 4; Q5_0, Q8_0, IQ4 in 8; Q6_K in 8 with blocks of 16). Types with a minimum (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K) are
rounded to 8 bits in blocks of 32: near-exact. 4-bit blocks beside a product of block sums and block minima would be
exact, and measured faster than 8 bits for the head at batch 1 alone, and slower at batch 8 (docs/performance.md).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from server.errors import InvalidValue
from server.models.gguf import TensorInfo

from .blocks import Blocks, Bytes, Floats
from .tensors import as_floats

Precision = Literal["exact", "int8", "int4", "int4_128", "fp16", "fp32"]
ZERO = {4: 8, 8: 128}  # the zero point that the kernels assume where none is given
BLOCK = 32
COARSE = (128, 64, 32)  # blocks of int4_128: the largest that divides a row
ALIGNMENT = 4096  # of external data, so that it can be mapped
INLINE = 1024  # bytes; smaller tensors stay in the graph

_EXACT_4 = {"Q4_0": 32, "Q3_K": 16}
_EXACT_8 = {"Q5_0": 32, "Q8_0": 32, "IQ4_NL": 32, "IQ4_XS": 32, "Q6_K": 16, **_EXACT_4}
_FLOAT = {"F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True)
class Form:
    """How a matrix is stored: `bits` 4 or 8 in blocks, or 16 or 32 for floats (block 0). `exact`: without rounding."""

    bits: int
    block: int
    exact: bool

    @property
    def quantised(self) -> bool:
        return self.block > 0


def form_of(info: TensorInfo, precision: Precision) -> Form:
    """The form of a matrix [N, K] at a precision."""
    kind, width = info.kind, info.shape[-1]
    if precision == "fp32":
        return Form(32, 0, exact=True)
    if precision == "fp16":
        return Form(16, 0, exact=kind == "F16")
    if precision == "exact" and kind in _FLOAT:
        return Form(16 if kind == "F16" else 32, 0, exact=True)
    if precision == "int4_128" and width % BLOCK == 0:
        return Form(4, next(block for block in COARSE if width % block == 0), exact=False)
    if precision != "int8" and kind in _EXACT_4:
        return Form(4, _EXACT_4[kind], exact=True)
    if precision != "int4" and kind in _EXACT_8:
        return Form(8, _EXACT_8[kind], exact=True)
    if width % BLOCK:
        return Form(32, 0, exact=True)  # the kernels want whole blocks
    return Form(4 if precision == "int4" else 8, BLOCK, exact=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """A matrix in the file, by the names of its initializers: `<name>.weight`, and for blocks `<name>.scales`.

    `half_scales`: the scales are 16-bit floats called `<name>.half_scales`, which the graph widens when it is loaded.
    """

    name: str
    form: Form
    rows: int
    width: int
    half_scales: bool = False


def quantised(found: Blocks | Floats, form: Form) -> tuple[Bytes, Floats]:
    """Integers [rows, K] around the kernels' zero point, and scales [rows, K / block]."""
    zero = ZERO[form.bits]
    if form.exact and isinstance(found, Blocks):
        return found.q + np.uint8(zero - found.zero), found.scale
    values = as_floats(found)
    grouped = values.reshape(values.shape[0], -1, form.block)
    if form.bits < 8:
        return _best_of(grouped, form.bits)
    scale = np.abs(grouped).max(axis=-1) / 127
    if isinstance(found, Blocks) and found.minimum is not None and found.block == form.block:
        scale = _commensurate(found.scale, found.minimum, scale)
    return _nearest(grouped, scale, 8)


def _commensurate(step: Floats, minimum: Floats, scale: Floats) -> Floats:
    """Scales of which `step` is a whole multiple: all weights of a block then share one error, that of the minimum.

    Of the eight finest that reach the block's extreme, the one that the minimum is nearest to a multiple of.
    """
    usable = (step > 0) & (scale > 0)
    finest = np.floor(np.divide(step, scale, out=np.ones_like(step), where=usable))
    best, error = scale.copy(), np.full(scale.shape, np.inf, np.float32)
    for less in range(8):
        divisor = finest - less
        tried = np.divide(step, divisor, out=scale.copy(), where=usable & (divisor > 0))
        ratio = np.divide(minimum, tried, out=np.zeros_like(scale), where=tried > 0)
        missed = np.abs(ratio - np.rint(ratio)) * tried
        better = (missed < error) & usable & (divisor > 0)
        best, error = np.where(better, tried, best), np.where(better, missed, error)
    return best


def _nearest(grouped: Floats, scale: Floats, bits: int) -> tuple[Bytes, Floats]:
    """Round to the nearest step of `scale`, itself rounded to 16 bits so that it can be stored in them."""
    scale = _halved(scale)
    top, zero = 2**bits - 1, ZERO[bits]
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)
    q = np.clip(np.rint(grouped * inverse[..., None]) + zero, 0, top).astype(np.uint8)
    return q.reshape(q.shape[0], -1), scale


def _halved(scale: Floats) -> Floats:
    """Scales as 16-bit floats would have them; those too large or too small for that stay as they are."""
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16).astype(np.float32)
    return np.where((np.abs(half) >= np.finfo(np.float16).tiny) & np.isfinite(half), half, scale)


def fit_in_half(scales: Floats) -> bool:
    """Whether nothing is lost by storing them in 16 bits."""
    with np.errstate(over="ignore"):
        return bool((scales.astype(np.float16).astype(np.float32) == scales).all())


def _best_of(grouped: Floats, bits: int) -> tuple[Bytes, Floats]:
    """Round with the scale, of a few, that loses least (mean square). The extreme takes the odd step, as in Q4_0."""
    place = np.abs(grouped).argmax(axis=-1)[..., None]
    base = np.take_along_axis(grouped, place, axis=-1)[..., 0] / np.float32(-(2 ** (bits - 1)))
    best = np.full(base.shape, np.inf, np.float32)
    scale = base.copy()
    for factor in np.linspace(0.8, 1.1, 13, dtype=np.float32):
        q, tried = _nearest(grouped, base * factor, bits)
        centred = q.reshape(grouped.shape).astype(np.float32) - ZERO[bits]
        with np.errstate(over="ignore"):  # an infinite loss is not the least
            loss = np.square(centred * tried[..., None] - grouped).sum(axis=-1)
        scale = np.where(loss < best, tried, scale)
        best = np.minimum(loss, best)
    return _nearest(grouped, scale, bits)


def packed(q: Bytes, bits: int) -> Bytes:
    """Integers as the kernels read them: two to a byte at 4 bits, the lower half first."""
    return q if bits == 8 else q[:, 0::2] | q[:, 1::2] << np.uint8(4)


class WeightFile:
    """`model.onnx.data`, written front to back; the initializers that point into it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._name = path.name
        self._file = file
        self.initializers: list[TensorProto] = []

    def add(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """One whole array."""
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.nbytes < INLINE:
            self.initializers.append(helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True))
        else:
            self._external(name, kind, array.shape, *self._write([array]))

    def add_matrix(self, name: str, form: Form, width: int, parts: Iterable[Blocks | Floats]) -> Stored:
        """A matrix from its slabs, in order of rows."""
        if not form.quantised:
            return self._add_floats(name, form, width, parts)
        scales: list[Floats] = []
        count = 0

        def pieces() -> Iterator[Bytes]:
            nonlocal count
            for part in parts:
                q, scale = quantised(part, form)
                count += q.shape[0]
                scales.append(scale)
                yield packed(q, form.bits)

        place = self._write(pieces())
        blocks = width // form.block
        self._external(f"{name}.weight", TensorProto.UINT8, (count, blocks, form.block * form.bits // 8), *place)
        whole = np.concatenate(scales)
        half = fit_in_half(whole)
        self.add(f"{name}.half_scales" if half else f"{name}.scales", whole.astype(np.float16) if half else whole)
        return Stored(name, form, count, width, half)

    def alias(self, name: str, of: str, shape: tuple[int, ...]) -> None:
        """The bytes of another initializer under another shape: stored once, mapped twice."""
        original = next(tensor for tensor in self.initializers if tensor.name == of)
        twin = TensorProto()
        twin.CopyFrom(original)
        twin.name = name
        del twin.dims[:]
        twin.dims.extend(shape)
        self.initializers.append(twin)

    def _add_floats(self, name: str, form: Form, width: int, parts: Iterable[Blocks | Floats]) -> Stored:
        """Rows as they are, [N, K]: the graph multiplies by the transpose."""
        dtype = np.dtype(np.float16 if form.bits == 16 else np.float32)
        count = 0

        def pieces() -> Iterator[npt.NDArray[np.generic]]:
            nonlocal count
            for part in parts:
                values = as_floats(part)
                count += len(values)
                if form.bits == 16 and np.abs(values).max() > np.finfo(np.float16).max:
                    raise InvalidValue(f"{name} has weights that 16 bits cannot hold; choose another precision.")
                yield values.astype(dtype)

        place = self._write(pieces())
        self._external(f"{name}.weight", helper.np_dtype_to_tensor_dtype(dtype), (count, width), *place)
        return Stored(name, form, count, width)

    def _write(self, pieces: Iterable[npt.NDArray[np.generic]]) -> tuple[int, int]:
        """Append arrays; where they begin, and how many bytes they are."""
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
        start = self._file.tell()
        for piece in pieces:
            self._file.write(np.ascontiguousarray(piece).data)
        return start, self._file.tell() - start

    def _external(self, name: str, kind: int, shape: tuple[int, ...], offset: int, length: int) -> None:
        tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self._name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
