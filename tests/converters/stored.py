"""What a converted folder stores, read back with `onnx` alone: no code of the converter's has a part in it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
PARTS = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "qkv": "attn_qkv", "output": "attn_output"}


class StoredModel:
    """The matrices of a folder by the names of their GGUF tensors."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
        self.initializers: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.blocked = {node.input[1]: node for node in graph.node if node.op_type == "MatMulNBits"}
        lookups = [node for node in graph.node if node.op_type == "GatherBlockQuantized"]
        for node in lookups:  # the same bytes under another shape
            weight = node.input[0].replace(".rows", ".weight")
            assert self._place(node.input[0]) == self._place(weight)
            self.blocked.setdefault(weight, node)

    def matrices(self) -> dict[str, list[str]]:
        """Names of stored matrices, with the tensors that are in them from the first row on."""
        names = (name.removesuffix(".weight") for name in self.initializers if name.endswith(".weight"))
        return {name: tensors for name in names if (tensors := _tensors(name))}

    def rows(self, name: str, start: int, stop: int) -> Floats:
        """Rows of a matrix, float32, as the operator's documentation says: (q - zero point) * scale a block."""
        weight = self._array(f"{name}.weight")[start:stop]
        node = self.blocked.get(f"{name}.weight")
        if node is None:
            return weight.astype(np.float32)
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        bits, count = settings["bits"], len(weight)
        zero_point = 3
        assert not any(node.input[zero_point : zero_point + 1]), "the default zero point"
        if bits == 4:
            weight = np.stack([weight & 15, weight >> 4], axis=-1)
        centred = weight.reshape(count, -1, settings["block_size"]).astype(np.float32) - 2 ** (bits - 1)
        scales = self.scales(name)[start:stop].reshape(count, -1, 1)
        values: Floats = (centred * scales).reshape(count, -1)
        return values

    def scales(self, name: str) -> Floats:
        stored = f"{name}.scales" if f"{name}.scales" in self.initializers else f"{name}.half_scales"
        return self._array(stored).astype(np.float32)

    def _array(self, name: str) -> npt.NDArray[Any]:
        tensor = self.initializers[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        place = self._place(name)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        array: npt.NDArray[Any] = np.memmap(
            self._folder / place["location"], dtype, "r", int(place["offset"]), tuple(tensor.dims)
        )
        assert array.nbytes == int(place["length"])
        return array

    def _place(self, name: str) -> dict[str, str]:
        return {entry.key: entry.value for entry in self.initializers[name].external_data}


def _tensors(name: str) -> list[str]:
    whole = {"embedding": ["token_embd.weight"], "head": ["output.weight"]}
    if name in whole:
        return whole[name]
    found = re.fullmatch(r"layers\.(\d+)\.([a-z_]+)", name)
    if found is None:
        return []
    layer, parts = found.groups()
    each = parts.replace("ffn_", "ffn.").split("_")
    return [f"blk.{layer}.{PARTS.get(part, part.replace('ffn.', 'ffn_'))}.weight" for part in each]
