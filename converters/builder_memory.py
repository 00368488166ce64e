"""Letting GenAI's model builder quantise with little memory.

Before it quantises, the builder turns the whole model into one message of float32 numbers, beside the checkpoint that
it has in memory: 5.3 GB for half a billion weights. Here the float graph goes to a file first, a tensor at a time, the
checkpoint is let go, and the builder goes on with the file, of which it maps a tensor at a time.
"""

import gc
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

_GRAPH, _WEIGHTS = "float.onnx", "float.data"
_SMALL = 1024  # bytes; a smaller tensor stays in the graph


@contextmanager
def spilling(builder: Any, scratch: Path) -> Iterator[None]:
    """Within it, what `builder` (the module) quantises goes through files in `scratch`, as large as the float model.

    Paths given to the builder have to be absolute: the working folder of the process changes, since a graph names its
    weight file without a folder.
    """
    import onnx_ir

    quantise = builder.Model.to_nbits

    def frugal(model: Any) -> Any:
        onnx_ir.save(model.model, scratch / _GRAPH, external_data=_WEIGHTS, size_threshold_bytes=_SMALL)
        for value in model.model.graph.initializers.values():
            value.const_value = None  # the builder keeps the values, and they the checkpoint
        model.model = onnx_ir.load(scratch / _GRAPH)
        gc.collect()
        return quantise(model)

    builder.Model.to_nbits = frugal
    try:
        with chdir(scratch):
            yield
    finally:
        builder.Model.to_nbits = quantise
