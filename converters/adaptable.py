"""A second graph over the same weights that takes LoRA matrices as inputs, at every matrix of attention and MLP.

A matrix W of the graph, which may be several of the model's side by side, gets two inputs: `<matrix>.lora_A`
[in, rank] and `<matrix>.lora_B` [rank, out]; what it computes becomes x W + (x A) B. Both are matrices of rank 0 unless
a caller gives others.

The two products are of float64: kernels for matrices that are not packed beforehand choose by the number of rows how
they sum, so a float32 sum depends on the company in its last bits, and activations rounded to 8 bits make text of that.

The scale of an adapter is part of its B. Which parts a matrix has, with their widths, stands in
the graph's metadata under the name of the matrix: an adapter file names the parts, so it fits every precision.
"""

from onnx import ModelProto, NodeProto, TensorProto, helper

from server.models.lora_graph import GRAPH, PARTS

from .decoder import Decoder, Shape

__all__ = ["GRAPH", "adaptable"]

# What the graph calls a product, and the tensors of GGUF that are in it.
MATRICES = {
    "qkv": ("attn_q", "attn_k", "attn_v"),
    "attn_q": ("attn_q",),
    "attn_k": ("attn_k",),
    "attn_v": ("attn_v",),
    "o": ("attn_output",),
    "gate_up.both": ("ffn_gate", "ffn_up"),
    "ffn_gate": ("ffn_gate",),
    "ffn_up": ("ffn_up",),
    "down": ("ffn_down",),
}
PRODUCTS = {"MatMulNBits", "MatMul", "Add"}
FUSED = {"qkv": ("attn_qkv",), "gate_up.both": ("ffn_up",)}


def adaptable(model: ModelProto, decoder: Decoder) -> ModelProto:
    """A copy of a graph that `Assembly` drew, with the inputs."""
    found = ModelProto()
    found.CopyFrom(model)
    shapes, graph = decoder.shapes(), found.graph
    matrices = MATRICES | FUSED if decoder.fused else MATRICES
    widened: set[str] = set()
    first = {node.output[0]: node.input[0] for node in graph.node}
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        name = node.output[0]
        layer, matrix = _place(name)
        if matrix not in matrices or node.op_type not in PRODUCTS:
            continue
        tensors = [f"blk.{layer}.{part}.weight" for part in matrices[matrix]]
        # A product of floats has its bias added by a node of its own.
        x = first[node.input[0]] if node.op_type == "Add" else node.input[0]
        wide = f"{x}/float64"
        if wide not in widened:
            widened.add(wide)
            nodes.append(helper.make_node("Cast", [x], [wide], name=f"/{wide}", to=TensorProto.DOUBLE))
        nodes += _pair(found, node, wide, [shapes[tensor] for tensor in tensors])
        rows = " ".join(f"{tensor}={shapes[tensor][0]}" for tensor in tensors)
        found.metadata_props.add(key=f"{PARTS}{name}", value=rows)
    del graph.node[:]
    graph.node.extend(nodes)
    return found


def _place(output: str) -> tuple[str, str]:
    """`layers.3.gate_up.both` as 3 and gate_up.both."""
    root, _, rest = output.partition(".")
    layer, _, matrix = rest.partition(".")
    return (layer, matrix) if root == "layers" else ("", "")


def _pair(model: ModelProto, node: NodeProto, x: str, sizes: list[Shape]) -> list[NodeProto]:
    """The nodes behind the product `node` of `x`, which gets another output; the inputs go to the graph."""
    name = node.output[0]
    node.output[0] = f"{name}/base"
    width, height = sizes[0][1], sum(size[0] for size in sizes)
    rank = f"rank of {name}"
    for kind, shape, empty in (("A", (width, rank), (width, 0)), ("B", (rank, height), (0, height))):
        given = f"{name}.lora_{kind}"
        model.graph.input.append(helper.make_tensor_value_info(given, TensorProto.DOUBLE, shape))
        model.graph.initializer.append(helper.make_tensor(given, TensorProto.DOUBLE, empty, []))
    down, up = f"{name}/lora_A", f"{name}/lora_B"
    return [
        helper.make_node("MatMul", [x, f"{name}.lora_A"], [down], name=f"/{down}"),
        helper.make_node("MatMul", [down, f"{name}.lora_B"], [up], name=f"/{up}"),
        helper.make_node("Cast", [up], [f"{up}/float32"], name=f"/{up}/float32", to=TensorProto.FLOAT),
        helper.make_node("Add", [f"{name}/base", f"{up}/float32"], [name], name=f"/{name}/adapted"),
    ]
