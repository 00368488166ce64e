"""Two tiny ONNX graphs, written as protobuf by hand: the server has no `onnx` package when it runs.

The numbers of the fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Sequence

FLOAT, INT64, FLOAT16 = 1, 7, 10  # TensorProto.DataType
OPSET, IR_VERSION = 13, 7
INT_ATTRIBUTE = 2


def mover(element: int) -> bytes:
    """`moved` is `x` [a, b, c, d], with as much more of each axis as `pads` [8] says, in zeros."""
    node = _node("Pad", ["x", "pads"], ["moved"])
    inputs = [_value("x", element, "abcd"), _value("pads", INT64, ["pads"])]
    return _model([node], inputs, [_value("moved", element, "efgh")])


def picker(element: int) -> bytes:
    """Of `logits` [n, vocabulary] the asked `rows` [k]: `picked` [k, vocabulary] float32, and the `best` [k]."""
    nodes = [
        _node("Gather", ["logits", "rows"], ["found"], axis=0),
        _node("Cast", ["found"], ["picked"], to=FLOAT),
        _node("ArgMax", ["found"], ["best"], axis=-1, keepdims=0),
    ]
    inputs = [_value("logits", element, ["n", "vocabulary"]), _value("rows", INT64, ["k"])]
    return _model(nodes, inputs, [_value("picked", FLOAT, ["k", "vocabulary"]), _value("best", INT64, ["k"])])


def _model(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    graph = _all(1, nodes) + _field(2, "graph") + _all(11, inputs) + _all(12, outputs)
    return _field(1, IR_VERSION) + _field(7, graph) + _field(8, _field(1, "") + _field(2, OPSET))


def _node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int) -> bytes:
    described = [_field(1, name) + _field(3, number) + _field(20, INT_ATTRIBUTE) for name, number in attributes.items()]
    return _all(1, inputs) + _all(2, outputs) + _field(4, op) + _all(5, described)


def _value(name: str, element: int, axes: Sequence[str]) -> bytes:
    shape = _all(1, [_field(2, axis) for axis in axes])
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, shape)))


def _all(number: int, values: Sequence[str | bytes]) -> bytes:
    return b"".join(_field(number, value) for value in values)


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])
