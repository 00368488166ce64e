"""The mix of types of an ONNX graph, against one whose types are known."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.tensor_types import of_graph, of_onnx


def graph() -> onnx.ModelProto:
    """Two packed matrices (scales through a Cast, and zero points), a packed embedding, a plain matrix, an index."""
    weights: dict[str, np.ndarray] = {
        "four": np.zeros((2, 1, 16), np.uint8),
        "four.scales": np.ones((2, 1), np.float16),
        "eight": np.zeros((2, 1, 32), np.uint8),
        "eight.scales": np.ones((2, 1), np.float32),
        "eight.zeros": np.zeros((2, 1), np.uint8),
        "embedding": np.zeros((8, 32), np.uint8),
        "embedding.scales": np.ones((8, 1), np.float32),
        "norm": np.ones(4, np.float32),
        "plain": np.ones((4, 4), np.float16),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["four.scales"], ["scales"], to=TensorProto.FLOAT),
        helper.make_node("MatMulNBits", ["x", "four", "scales"], ["a"], domain="com.microsoft", bits=4),
        helper.make_node(
            "MatMulNBits", ["a", "eight", "eight.scales", "eight.zeros"], ["b"], domain="com.microsoft", bits=8
        ),
        helper.make_node(
            "GatherBlockQuantized", ["embedding", "i", "embedding.scales"], ["c"], domain="com.microsoft", bits=8
        ),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", [], [], [numpy_helper.from_array(array, name) for name, array in weights.items()])
    )


def test_weights_are_counted_and_scales_and_shapes_are_not(tmp_path: Path) -> None:
    expected = {"F16": 1, "F32": 1, "int4": 1, "int8": 2}
    assert of_graph(graph()) == expected
    onnx.save_model(graph(), tmp_path / "one.onnx", save_as_external_data=True, location="one.data", size_threshold=0)
    (tmp_path / "one.data").unlink()  # only the graphs are read
    onnx.save_model(graph(), tmp_path / "two.onnx")
    assert of_onnx(tmp_path) == {kind: 2 * count for kind, count in expected.items()}
