"""The tensors of a GGUF file as a decoder needs them: all there, of the right shape, taken apart, rows in order."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from server.errors import InvalidValue
from server.models.gguf import Gguf, TensorInfo

from .blocks import SUPPORTED, Blocks, Bytes, Floats, decode
from .decoder import Decoder

SLAB = 1 << 22  # weights taken apart at a time: bounds the memory of a conversion
PERMUTED = ("attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias")
ROPE = frozenset({"rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"})


class Tensors:
    """Raises InvalidValue for a file that is not of its decoder; else every tensor of `Decoder.shapes` is there."""

    def __init__(self, gguf: Gguf, decoder: Decoder) -> None:
        self._gguf = gguf
        self._decoder = decoder
        self._check()

    def info(self, name: str) -> TensorInfo:
        return self._gguf.tensors[name]

    def vector(self, name: str) -> Floats:
        """float32 [size]."""
        info = self.info(name)
        values: Floats = as_floats(self._decoded(info, self._gguf.raw(info).reshape(1, -1)))[0]
        order = self._order(info)
        return values if order is None else values[order]

    def slabs(self, name: str) -> Iterator[Blocks | Floats]:
        """The rows of a matrix, a slab at a time."""
        info = self.info(name)
        raw = self._gguf.raw(info).reshape(info.shape[0], -1)
        order = self._order(info)
        step = max(SLAB // info.shape[1], 1)
        for start in range(0, info.shape[0], step):
            part = raw[start : start + step] if order is None else raw[order[start : start + step]]
            yield self._decoded(info, part)

    def rows(self, name: str, numbers: list[int]) -> Floats:
        """Some rows of a matrix, float32 [len(numbers), width]."""
        info = self.info(name)
        return as_floats(self._decoded(info, self._gguf.raw(info).reshape(info.shape[0], -1)[numbers]))

    def _decoded(self, info: TensorInfo, raw: Bytes) -> Blocks | Floats:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
            found = decode(info.kind, raw)
        numbers = [found.scale, found.minimum] if isinstance(found, Blocks) else [found]
        if not all(np.isfinite(each).all() for each in numbers if each is not None):
            raise InvalidValue(f"{self._gguf.path.name}: {info.name} has weights that are not finite.")
        return found

    def _order(self, info: TensorInfo) -> npt.NDArray[np.int64] | None:
        """Where the rows of Q and K belong: each head's even rows first, then its odd ones."""
        if not (self._decoder.permuted and info.name.endswith(PERMUTED)):
            return None
        return np.arange(info.shape[0]).reshape(-1, self._decoder.head_size // 2, 2).swapaxes(1, 2).ravel()

    def _check(self) -> None:
        wanted, found, file = self._decoder.shapes(), self._gguf.tensors, self._gguf.path.name
        for name, shape in wanted.items():
            if name not in found:
                raise InvalidValue(f"{file} has no tensor {name!r}, which its architecture needs.")
            if found[name].shape != shape:
                raise InvalidValue(f"{file}: {name} is {list(found[name].shape)}, not {list(shape)}.")
        strange = sorted(found.keys() - wanted.keys() - ROPE)
        if strange:  # weights that the graph would leave out: the model would speak, and badly
            raise InvalidValue(f"{file} has {len(strange)} tensors that are not supported, as {strange[0][:80]!r}.")
        kinds = sorted({found[name].kind for name in wanted} - SUPPORTED)
        if kinds:
            known = ", ".join(sorted(SUPPORTED))
            raise InvalidValue(f"{file} has tensors of type {', '.join(kinds)}. Those that convert: {known}.")


def as_floats(found: Blocks | Floats) -> Floats:
    return found.dequantised() if isinstance(found, Blocks) else found
