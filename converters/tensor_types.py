"""Which types the weights of an ONNX graph have, counted in the graph."""

from collections import Counter
from pathlib import Path

import onnx

# Operators whose weights are packed: which input they are, and which others belong to them (scales, zero points).
_PACKED = {"MatMulNBits": (1, (2, 3)), "GatherBlockQuantized": (0, (2, 3))}
# What weights are otherwise; integers that are not packed are shapes and indices of the graph.
_NAMES = {"FLOAT": "F32", "FLOAT16": "F16", "BFLOAT16": "BF16", "DOUBLE": "F64"}


def of_graph(model: onnx.ModelProto) -> dict[str, int]:
    """Weights by type; the packed ones, each with its scales, as int4 or int8."""
    kinds = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer}
    found = {name: _NAMES[kind] for name, kind in kinds.items() if kind in _NAMES}
    cast = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    for node in model.graph.node:
        if node.op_type not in _PACKED:
            continue
        weights, others = _PACKED[node.op_type]
        bits = next((attribute.i for attribute in node.attribute if attribute.name == "bits"), 4)
        found[node.input[weights]] = f"int{bits}"
        for name in (node.input[other] for other in others if other < len(node.input)):
            found.pop(cast.get(name, name), None)
    return _sorted(Counter(found.values()))


def of_onnx(folder: Path) -> dict[str, int]:
    """Of every graph in a folder; weights in other files are not read."""
    graphs = (onnx.load_model(str(path), load_external_data=False) for path in sorted(folder.rglob("*.onnx")))
    total: Counter[str] = Counter()
    for graph in graphs:
        total.update(of_graph(graph))
    return _sorted(total)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
