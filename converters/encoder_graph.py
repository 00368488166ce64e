"""The graph of a BERT encoder for ONNX Runtime, with its fused operators for attention, norms and activation.

Inputs: input_ids and attention_mask [B, S] int64; the mask has ones for tokens and zeros for padding behind them.
Output: last_hidden_state [B, S, hidden] float32, in rows of padding whatever comes out.
Formulas: Devlin et al., 2019; as transformers' modeling_bert.py has them.
Operators: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from .encoder_config import EncoderConfig
from .graph import IR_VERSION, MS, MS_OPSET, OPSET
from .safetensors_file import Floats, Safetensors
from .weights import WeightFile


class EncoderGraph:
    """Walks the layers of one file: weights go to the weight file, nodes to the graph."""

    def __init__(self, config: EncoderConfig, tensors: Safetensors, weights: WeightFile) -> None:
        self._config = config
        self._tensors = tensors
        self._weights = weights
        self._nodes: list[NodeProto] = []
        self._prefix = "" if "embeddings.word_embeddings.weight" in tensors.entries else f"{config.model_type}."
        self.matrices = 0

    def build(self, name: str) -> onnx.ModelProto:
        """The whole model. Raises InvalidValue for a file that lacks a weight."""
        x = self._embedded()
        for layer in range(self._config.num_hidden_layers):
            x = self._layer(layer, x)
        self._node("Identity", [x], "last_hidden_state")
        axes: list[str | int | None] = ["batch", "sequence"]
        ids = [helper.make_tensor_value_info(n, TensorProto.INT64, axes) for n in ("input_ids", "attention_mask")]
        states = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, [*axes, self._config.hidden_size]
        )
        drawn = helper.make_graph(self._nodes, name, ids, [states], self._weights.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS, MS_OPSET)]
        return helper.make_model(drawn, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cupola")

    def _embedded(self) -> str:
        """Sum of what stands for the token, its position and the first kind of text, normed; and the mask as int32."""
        c = self._config
        words = self._matrix("embeddings.word_embeddings.weight", c.vocab_size, c.hidden_size)
        places = self._matrix("embeddings.position_embeddings.weight", c.max_position_embeddings, c.hidden_size)
        kinds = self._matrix("embeddings.token_type_embeddings.weight", c.type_vocab_size, c.hidden_size)
        self._weights.add("words", words)
        self._weights.add("positions", places + kinds[0])
        for value in (0, 1, 2):
            self._weights.add(f"at.{value}", np.array([value], np.int64))
        self._node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
        self._node("Shape", ["input_ids"], "shape")
        self._node("Slice", ["shape", "at.1", "at.2"], "length")
        self._node("Slice", ["positions", "at.0", "length", "at.0"], "places")
        self._node("Gather", ["words", "input_ids"], "looked_up")
        self._node("Add", ["looked_up", "places"], "summed")
        gamma, beta = self._norm("embeddings.LayerNorm")
        return self._node("LayerNormalization", ["summed", gamma, beta], "embedded", axis=-1, epsilon=c.layer_norm_eps)

    def _layer(self, layer: int, x: str) -> str:
        c, name, stored = self._config, f"layer.{layer}", f"encoder.layer.{layer}"
        size, wide = c.hidden_size, c.intermediate_size
        parts = [f"{stored}.attention.self.{part}" for part in ("query", "key", "value")]
        self._weights.add(
            f"{name}.qkv", np.concatenate([self._matrix(f"{part}.weight", size, size).T for part in parts], axis=1)
        )
        self._weights.add(f"{name}.qkv.bias", np.concatenate([self._vector(f"{part}.bias", size) for part in parts]))
        inputs = [x, f"{name}.qkv", f"{name}.qkv.bias", "mask"]
        mixed = self._node("Attention", inputs, f"{name}.attention", domain=MS, num_heads=c.num_attention_heads)
        out, bias = self._product(mixed, f"{stored}.attention.output.dense", f"{name}.out", size, size)
        x = self._add_norm(out, x, bias, f"{stored}.attention.output.LayerNorm", f"{name}.middle")
        up, up_bias = self._product(x, f"{stored}.intermediate.dense", f"{name}.up", size, wide)
        active = self._node("BiasGelu", [up, up_bias], f"{name}.active", domain=MS)
        down, bias = self._product(active, f"{stored}.output.dense", f"{name}.down", wide, size)
        return self._add_norm(down, x, bias, f"{stored}.output.LayerNorm", f"{name}.result")

    def _product(self, x: str, stored: str, name: str, width: int, result: int) -> tuple[str, str]:
        """x times the transpose of a matrix [result, width], and the name of the bias, not yet added."""
        self._weights.add(f"{name}.weight", self._matrix(f"{stored}.weight", result, width).T)
        self._weights.add(f"{name}.bias", self._vector(f"{stored}.bias", result))
        return self._node("MatMul", [x, f"{name}.weight"], name), f"{name}.bias"

    def _add_norm(self, x: str, residual: str, bias: str, stored: str, name: str) -> str:
        inputs = [x, residual, *self._norm(stored), bias]
        return self._node("SkipLayerNormalization", inputs, name, domain=MS, epsilon=self._config.layer_norm_eps)

    def _norm(self, stored: str) -> tuple[str, str]:
        for part in ("weight", "bias"):
            self._weights.add(f"{stored}.{part}", self._vector(f"{stored}.{part}", self._config.hidden_size))
        return f"{stored}.weight", f"{stored}.bias"

    def _matrix(self, name: str, rows: int, width: int) -> Floats:
        self.matrices += 1
        return self._tensors.floats(self._prefix + name, rows, width)

    def _vector(self, name: str, length: int) -> Floats:
        return self._tensors.floats(self._prefix + name, length)

    def _node(self, op: str, inputs: list[str], name: str, *, domain: str = "", **attrs: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [name], name=f"/{name}", domain=domain, **attrs))
        return name
