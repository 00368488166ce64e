"""Letting GenAI's model builder quantise with little memory.

Before it quantises, the builder turns the whole model into one message of float32 numbers, beside the checkpoint that
it has in memory: 5.3 GB for half a billion weights. Here the float graph goes to a file first, a tensor at a time, the
checkpoint is let go, and the builder goes on with the file, of which it maps a tensor at a time. RTN and k-quant, which
are NumPy over a whole matrix, get some rows at a time; their blocks do not depend on each other.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_GRAPH, _WEIGHTS = "float.onnx", "float.data"
_SMALL = 1024  # bytes; a smaller tensor stays in the graph
_SLICE = 1 << 20  # weights that are rounded at once
# Functions of ONNX Runtime's quantiser from a matrix [rows, columns] to whole numbers, scales and zero points.
_ROUNDERS = ("quant_tensor", "quant_tensor_k_quant_cuda")


@contextmanager
def spilling(builder: Any, scratch: Path) -> Iterator[None]:
    """Within it, what `builder` (the module) quantises goes through files in `scratch`, as large as the float model.

    Paths given to the builder have to be absolute: the working folder of the process changes, since a graph names its
    weight file without a folder.
    """
    import onnx_ir
    from onnxruntime.quantization.neural_compressor import weight_only

    rounders = {name: getattr(weight_only, name) for name in _ROUNDERS}
    quantise = builder.Model.to_nbits

    def frugal(model: Any) -> Any:
        onnx_ir.save(model.model, scratch / _GRAPH, external_data=_WEIGHTS, size_threshold_bytes=_SMALL)
        for value in model.model.graph.initializers.values():
            value.const_value = None  # the builder keeps the values, and they the checkpoint
        model.model = onnx_ir.load(scratch / _GRAPH)
        gc.collect()
        return quantise(model)

    builder.Model.to_nbits = frugal
    for name, rounder in rounders.items():
        setattr(weight_only, name, by_slices(rounder))
    try:
        with chdir(scratch):
            yield
    finally:
        builder.Model.to_nbits = quantise
        for name, rounder in rounders.items():
            setattr(weight_only, name, rounder)


def by_slices(rounder: Callable[..., tuple[Any, Any, Any]]) -> Callable[..., tuple[Any, Any, Any]]:
    """The same function, a few rows at a time; rows are whole blocks. Whole numbers come as bytes, not as float64."""

    def sliced(matrix: Any, bits: int = 4, block: int = 32, *more: Any) -> tuple[Any, Any, Any]:
        rows = max(1, _SLICE // matrix.shape[1])
        parts = []
        for row in range(0, len(matrix), rows):
            whole, scales, zeros = rounder(matrix[row : row + rows], bits, block, *more)
            parts.append((whole.astype(np.uint8), scales, zeros))
        numbers, scale, zero = (np.concatenate(each) for each in zip(*parts, strict=True))
        return numbers, scale, zero

    return sliced
