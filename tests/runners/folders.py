"""Small folders for the onnx and genai engines: random weights, and graphs of every kind that folders have."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from converters.gguf_to_onnx import convert
from tests.converters.small import Small, write

MODEL = Small("llama", context=1024)
RANK = 4
FAILS_FROM = 200
ADAPTED = "layers.0.o"


def small_folder(path: Path) -> Path:
    """A decoder of two layers as our converter makes it: logits of the positions that are asked for."""
    convert(write(path.with_suffix(".gguf"), MODEL), path, "fp32")
    return path


def changed(folder: Path, target: Path, change: Any) -> Path:
    """A copy of a folder whose graph `change` has had its hands on."""
    shutil.copytree(folder, target)
    model = onnx.load(str(target / "model.onnx"), load_external_data=False)
    change(model.graph)
    onnx.save_model(model, str(target / "model.onnx"))
    return target


def keep_every_position(graph: Any) -> None:
    """Logits of all positions, as GenAI's model builder lays graphs out."""
    _without_positions(graph, lambda node: helper.make_node("Identity", [node.input[0]], ["asked"], name=node.name))
    _logits(graph).type.tensor_type.shape.dim[1].dim_param = "sequence"


def keep_the_last_position(graph: Any) -> None:
    """As with the builder's prune_lm_head."""
    graph.initializer.append(helper.make_tensor("minus_one", TensorProto.INT64, [1], [-1]))
    _without_positions(
        graph, lambda node: helper.make_node("Gather", [node.input[0], "minus_one"], ["asked"], name=node.name, axis=1)
    )


def fail_on_some_tokens(graph: Any) -> None:
    """Looks every token up in a table that ends at FAILS_FROM, as a model whose embedding is cut short would."""
    position, node = next((i, node) for i, node in enumerate(graph.node) if node.output[0] == "embedded")
    graph.initializer.append(helper.make_tensor("table", TensorProto.FLOAT, [FAILS_FROM, 1], [0.0] * FAILS_FROM))
    node.output[0] = "embedded/base"
    graph.node.insert(position + 1, helper.make_node("Gather", ["table", "input_ids"], ["embedded/table"]))
    graph.node.insert(position + 2, helper.make_node("Add", ["embedded/base", "embedded/table"], ["embedded"]))


def want_something_else(graph: Any) -> None:
    """An input that no engine gives."""
    graph.input.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, [1]))
    graph.node.append(helper.make_node("Identity", ["gate"], ["gate/out"]))
    graph.output.append(helper.make_tensor_value_info("gate/out", TensorProto.FLOAT, [1]))


def keep_entries_as_integers(graph: Any) -> None:
    """KV entries of a type that the onnx engine has not."""
    for value in [*graph.input, *graph.output]:
        if value.name.startswith(("past_key_values", "present")):
            value.type.tensor_type.elem_type = TensorProto.INT8


def take_an_adapter(graph: Any) -> None:
    """A LoRA of any rank on the output of the first layer's attention."""
    position, node = next((i, node) for i, node in enumerate(graph.node) if node.output[0] == ADAPTED)
    node.output[0] = f"{ADAPTED}/base"
    names = [f"{ADAPTED}.lora_{part}.weight" for part in "AB"]
    graph.node.insert(position + 1, helper.make_node("MatMul", [node.input[0], names[0]], [f"{ADAPTED}/down"]))
    graph.node.insert(position + 2, helper.make_node("MatMul", [f"{ADAPTED}/down", names[1]], [f"{ADAPTED}/up"]))
    graph.node.insert(position + 3, helper.make_node("Add", [f"{ADAPTED}/base", f"{ADAPTED}/up"], [ADAPTED]))
    shapes: tuple[list[str | int], list[str | int]] = [MODEL.heads * MODEL.head_size, "rank"], ["rank", MODEL.hidden]
    for name, shape in zip(names, shapes, strict=True):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def take_an_adapter_or_none(graph: Any) -> None:
    """The same, with matrices of rank 0 as what the inputs are if nobody gives them: so GenAI wants it."""
    take_an_adapter(graph)
    width = MODEL.heads * MODEL.head_size
    for part, shape in (("A", [width, 0]), ("B", [0, MODEL.hidden])):
        graph.initializer.append(helper.make_tensor(f"{ADAPTED}.lora_{part}.weight", TensorProto.FLOAT, shape, []))


def write_adapter(path: Path, seed: int, names: tuple[str, str] | None = None, rank: int = RANK) -> Path:
    """Random matrices, large enough to be heard."""
    source = np.random.default_rng(seed)
    shapes = (MODEL.heads * MODEL.head_size, rank), (rank, MODEL.hidden)
    matrices = [source.standard_normal(shape).astype(np.float32) * 0.5 for shape in shapes]
    wanted = names or (f"{ADAPTED}.lora_A.weight", f"{ADAPTED}.lora_B.weight")
    adapter = ort.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters(
        {name: ort.OrtValue.ortvalue_from_numpy(matrix) for name, matrix in zip(wanted, matrices, strict=True)}
    )
    adapter.export_adapter(str(path))
    return path


def _without_positions(graph: Any, replacement: Any) -> None:
    node = next(node for node in graph.node if node.output[0] == "asked")
    node.CopyFrom(replacement(node))
    graph.input.remove(next(value for value in graph.input if value.name == "logit_positions"))
    graph.initializer.remove(next(value for value in graph.initializer if value.name == "logit_positions"))
    _drop_unused(graph)


def _drop_unused(graph: Any) -> None:
    """Nodes of which nothing is read: those that prepared the positions."""
    while True:
        read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        idle = [node for node in graph.node if not read.intersection(node.output)]
        if not idle:
            return
        for node in idle:
            graph.node.remove(node)


def _logits(graph: Any) -> Any:
    return next(value for value in graph.output if value.name == "logits")
