"""The decoder's graph, in the layout of ONNX Runtime GenAI: one GroupQueryAttention a layer over a shared KV buffer.

Inputs: input_ids [B, S] int64; attention_mask [B, T] int64, of row b the first length[b] ones;
past_key_values.i.{key,value} [B, kv_heads, capacity, head_size] float32, bound to the same memory as present.i.*.
Output: logits [B, P, vocab] float32 for the positions of `logit_positions` [1 or B, P] int64, an initializer that a
caller may override (offsets into S, negative from the end); without it the last position, as GenAI expects.
Operators: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from .decoder import Decoder, Rope
from .weights import Stored, WeightFile

MS = "com.microsoft"
OPSET, MS_OPSET, IR_VERSION = 21, 1, 10
INT8_ACTIVATIONS = 4  # accuracy_level: activations are rounded to 8 bits a block, as llama.cpp does


class Graph:
    """Nodes in order of computation; every method adds some and names their result."""

    def __init__(self, decoder: Decoder, weights: WeightFile, *, exact_activations: bool) -> None:
        self._decoder = decoder
        self._weights = weights
        self._accuracy = 1 if exact_activations else INT8_ACTIVATIONS
        self.nodes: list[NodeProto] = []
        self._wide_scales: set[str] = set()

    def node(
        self, op: str, inputs: Sequence[str], name: str, *, outputs: int = 1, domain: str = "", **attrs: Any
    ) -> str:
        """One node; its first output is called `name`, further ones `name:1` and so on."""
        names = [name, *(f"{name}:{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"/{name}", domain=domain, **attrs))
        return name

    def constant(self, name: str, values: object, dtype: type = np.int64) -> str:
        self._weights.add(name, np.asarray(values, dtype))
        return name

    def lengths(self) -> None:
        """`seqlens_k` [B] int32, the last position of each row, and `total_length`, the width of the mask."""
        axis = self.constant("axis_1", [1])
        self.node("ReduceSum", ["attention_mask", axis], "lengths", keepdims=0)
        self.node("Sub", ["lengths", self.constant("one", [1])], "last_positions")
        self.node("Cast", ["last_positions"], "seqlens_k", to=TensorProto.INT32)
        self.node("Shape", ["attention_mask"], "mask_shape")
        self.node("Gather", ["mask_shape", self.constant("index_1", 1)], "mask_width")
        self.node("Cast", ["mask_width"], "total_length", to=TensorProto.INT32)

    def embed(self, table: Stored) -> str:
        """input_ids to hidden states [B, S, hidden]."""
        form = table.form
        if form.quantised:
            attrs = {"bits": form.bits, "block_size": form.block, "gather_axis": 0, "quantize_axis": 1}
            inputs = [f"{table.name}.rows", "input_ids", self._scales(table)]
            hidden = self.node("GatherBlockQuantized", inputs, "embedded", domain=MS, **attrs)
        else:
            hidden = self.node("Gather", [f"{table.name}.weight", "input_ids"], "embedded")
            hidden = self._widened(hidden, form.bits, "embedded_wide")
        if self._decoder.embedding_scale != 1.0:
            scale = self.constant("embedding_scale", self._decoder.embedding_scale, np.float32)
            hidden = self.node("Mul", [hidden, scale], "embedded_scaled")
        return hidden

    def linear(self, x: str, weight: Stored, name: str, bias: str = "") -> str:
        """x @ weight.T + bias, over the last axis."""
        if weight.form.quantised:
            inputs = [x, f"{weight.name}.weight", self._scales(weight), "", "", bias]
            attrs = {"K": weight.width, "N": weight.rows, "bits": weight.form.bits, "block_size": weight.form.block}
            present = inputs if bias else inputs[:3]
            return self.node("MatMulNBits", present, name, domain=MS, accuracy_level=self._accuracy, **attrs)
        wide = self._widened(f"{weight.name}.weight", weight.form.bits, f"{name}/wide")
        turned = self.node("Transpose", [wide], f"{name}/turned", perm=[1, 0])
        y = self.node("MatMul", [x, turned], f"{name}/product" if bias else name)
        return self.node("Add", [y, bias], name) if bias else y

    def norm(self, x: str, weight: str, name: str) -> str:
        """RMS norm over the last axis (Zhang and Sennrich, 2019)."""
        return self.node(
            "SimplifiedLayerNormalization", [x, weight], name, axis=-1, epsilon=self._decoder.epsilon, stash_type=1
        )

    def add_norm(self, x: str, residual: str, weight: str, name: str) -> tuple[str, str]:
        """RMS norm of a sum, and the sum."""
        self.nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [residual, x, weight],
                [name, "", "", f"{name}/sum"],
                name=f"/{name}",
                domain=MS,
                epsilon=self._decoder.epsilon,
            )
        )
        return name, f"{name}/sum"

    def head_norm(self, x: str, weight: str, heads: int, name: str) -> str:
        """RMS norm of each head of [B, S, heads * size]."""
        split = self.node("Reshape", [x, self._shape([0, 0, heads, self._decoder.head_size])], f"{name}/split")
        normed = self.norm(split, weight, f"{name}/normed")
        return self.node("Reshape", [normed, self._shape([0, 0, heads * self._decoder.head_size])], name)

    def attention(self, layer: int, query: str, key: str, value: str) -> str:
        """Rotation and attention over the KV buffer; a packed query has no key and value."""
        decoder = self._decoder
        rope = decoder.ropes[layer]
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        cos, sin = self._tables(rope)
        inputs = [query, key, value, *past, "seqlens_k", "total_length", cos, sin]
        name = f"layers.{layer}.attention"
        attrs: dict[str, Any] = {"num_heads": decoder.heads, "kv_num_heads": decoder.kv_heads, "do_rotary": 1}
        attrs["scale"] = decoder.score_scale
        attrs["local_window_size"] = decoder.windows[layer]
        outputs = [name, f"present.{layer}.key", f"present.{layer}.value"]
        self.nodes.append(helper.make_node("GroupQueryAttention", inputs, outputs, name=f"/{name}", domain=MS, **attrs))
        return name

    def gated(self, gate: str, up: str, name: str) -> str:
        """activation(gate) * up."""
        if self._decoder.activation == "silu":
            active = self.node("QuickGelu", [gate], f"{name}/silu", domain=MS, alpha=1.0)  # x * sigmoid(x)
        else:
            active = self.node("Gelu", [gate], f"{name}/gelu", approximate="tanh")
        return self.node("Mul", [active, up], name)

    def logits(self, x: str, head: Stored) -> None:
        """The last product, bounded where the architecture says so."""
        cap = self._decoder.final_softcap
        if not cap:
            self.linear(x, head, "logits")
            return
        bound = self.constant("softcap", cap, np.float32)
        small = self.node("Div", [self.linear(x, head, "logits/open"), bound], "logits/small")
        self.node("Mul", [self.node("Tanh", [small], "logits/tanh"), bound], "logits")

    def asked(self, hidden: str) -> str:
        """The hidden states [B, P, hidden] of the positions that were asked for."""
        self._weights.add("logit_positions", np.array([[-1]], np.int64))
        rows = self.node("Slice", [self.node("Shape", ["input_ids"], "ids_shape"), *self._range(0, 1)], "batch")
        shape = self.node("Shape", ["logit_positions"], "positions_shape")
        count = self.node("Slice", [shape, *self._range(1, 2)], "positions_count")
        target = self.node("Concat", [rows, count], "positions_target", axis=0)
        each = self.node("Expand", ["logit_positions", target], "positions_each")
        indices = self.node("Unsqueeze", [each, self.constant("axis_2", [2])], "positions_indices")
        return self.node("GatherND", [hidden, indices], "asked", batch_dims=1)

    def inputs(self) -> list[ValueInfoProto]:
        d = self._decoder
        cache: list[str | int | None] = ["batch", d.kv_heads, "capacity", d.head_size]
        ids = [("input_ids", ["batch", "sequence"]), ("attention_mask", ["batch", "total"])]
        found = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in ids]
        for layer in range(d.layers):
            for kind in ("key", "value"):
                name = f"past_key_values.{layer}.{kind}"
                found.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, cache))
        found.append(helper.make_tensor_value_info("logit_positions", TensorProto.INT64, ["rows", "positions"]))
        return found

    def outputs(self) -> list[ValueInfoProto]:
        d = self._decoder
        cache: list[str | int | None] = ["batch", d.kv_heads, "capacity", d.head_size]
        # The 1 tells GenAI that the graph keeps the last position only, unless somebody asks for others.
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, d.vocabulary])
        names = [f"present.{layer}.{kind}" for layer in range(d.layers) for kind in ("key", "value")]
        return [logits, *(helper.make_tensor_value_info(name, TensorProto.FLOAT, cache) for name in names)]

    def _tables(self, rope: Rope) -> tuple[str, str]:
        """Cosines and sines [context, pairs], written once for each kind of rotation."""
        number = next(i for i, other in enumerate(self._decoder.ropes) if other is rope)
        names = f"cosine.{number}", f"sine.{number}"
        if not self._has(names[0]):
            angles = np.outer(np.arange(self._decoder.context, dtype=np.float64), rope.frequencies)
            for name, values in zip(names, (np.cos(angles), np.sin(angles)), strict=True):
                self._weights.add(name, (values * rope.scale).astype(np.float32))
        return names

    def _widened(self, name: str, bits: int, result: str) -> str:
        return self.node("Cast", [name], result, to=TensorProto.FLOAT) if bits == 16 else name

    def _scales(self, weight: Stored) -> str:
        """The scales as float32; ONNX Runtime widens stored halves once, when it loads the graph."""
        name = f"{weight.name}.scales"
        if weight.half_scales and name not in self._wide_scales:
            self._wide_scales.add(name)
            self.node("Cast", [f"{weight.name}.half_scales"], name, to=TensorProto.FLOAT)
        return name

    def _shape(self, values: list[int]) -> str:
        name = f"shape.{'.'.join(map(str, values))}"
        return name if self._has(name) else self.constant(name, values)

    def _range(self, start: int, end: int) -> tuple[str, str]:
        names = f"slice.{start}", f"slice.{end}"
        for name, value in zip(names, (start, end), strict=True):
            if not self._has(name):
                self.constant(name, [value])
        return names

    def _has(self, name: str) -> bool:
        return any(tensor.name == name for tensor in self._weights.initializers)
