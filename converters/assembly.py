"""From the tensors of a GGUF file to the graph and the weight file, layer by layer."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from .decoder import Decoder
from .graph import IR_VERSION, MS, MS_OPSET, OPSET, Graph
from .tensors import Tensors
from .weights import Precision, Stored, WeightFile, form_of

Report = Callable[[float, str], None]  # fraction done, what is being done


class Assembly:
    """Walks the layers of one file: weights go to the weight file, nodes to the graph."""

    def __init__(
        self, tensors: Tensors, decoder: Decoder, precision: Precision, weights: WeightFile, report: Report
    ) -> None:
        self._tensors = tensors
        self._decoder = decoder
        self._precision = precision
        self._weights = weights
        self._report = report
        self._graph = Graph(decoder, weights, exact_activations=precision in {"fp32", "fp16"})
        self.rounded: list[str] = []

    def run(self) -> None:
        decoder, graph = self._decoder, self._graph
        self._report(0.0, "embedding")
        table = self._embedding()
        graph.lengths()
        residual = graph.embed(table)
        x = graph.norm(residual, self._vector("blk.0.attn_norm.weight"), "layers.0.input")
        for layer in range(decoder.layers):
            self._report((layer + 1) / (decoder.layers + 2), f"layer {layer + 1} of {decoder.layers}")
            x, residual = self._layer(layer, x, residual)
        self._report((decoder.layers + 1) / (decoder.layers + 2), "head")
        summed = graph.node("Add", [x, residual], "last_hidden")
        final = graph.norm(graph.asked(summed), self._vector("output_norm.weight"), "final")
        graph.logits(final, table if decoder.tied else self._store(["output.weight"], "head"))

    def model(self, name: str) -> onnx.ModelProto:
        graph = self._graph
        drawn = helper.make_graph(graph.nodes, name, graph.inputs(), graph.outputs(), self._weights.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS, MS_OPSET)]
        return helper.make_model(drawn, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cupola")

    def _layer(self, layer: int, x: str, residual: str) -> tuple[str, str]:
        """One layer: its output, not yet added, and the residual it is to be added to; normed where another follows."""
        decoder, graph, name = self._decoder, self._graph, f"layers.{layer}"
        attention = graph.attention(layer, *self._queries(layer, x))
        out = graph.linear(attention, self._matrix(layer, ["attn_output"]), f"{name}.o")
        out = self._post_norm(layer, "post_attention_norm", out)
        x, residual = graph.add_norm(out, residual, self._vector(f"blk.{layer}.ffn_norm.weight"), f"{name}.middle")
        hidden = graph.gated(*self._gate_and_up(layer, x), f"{name}.gated")
        out = graph.linear(hidden, self._matrix(layer, ["ffn_down"]), f"{name}.down")
        out = self._post_norm(layer, "post_ffw_norm", out)
        if layer + 1 == decoder.layers:
            return out, residual
        following = self._vector(f"blk.{layer + 1}.attn_norm.weight")
        return graph.add_norm(out, residual, following, f"layers.{layer + 1}.input")

    def _queries(self, layer: int, x: str) -> tuple[str, str, str]:
        """Query, key and value; all in the first if they can be computed by one product."""
        decoder, graph, name = self._decoder, self._graph, f"layers.{layer}"
        parts = ["attn_qkv"] if decoder.fused else ["attn_q", "attn_k", "attn_v"]
        if not decoder.head_norms and self._alike(layer, parts):
            return graph.linear(x, self._matrix(layer, parts), f"{name}.qkv", self._bias(layer, parts)), "", ""
        q, k, v = (
            graph.linear(x, self._matrix(layer, [part]), f"{name}.{part}", self._bias(layer, [part])) for part in parts
        )
        if decoder.head_norms:
            q = self._head_norm(layer, "attn_q_norm", q, decoder.heads)
            k = self._head_norm(layer, "attn_k_norm", k, decoder.kv_heads)
        return q, k, v

    def _head_norm(self, layer: int, part: str, x: str, heads: int) -> str:
        weight = self._vector(f"blk.{layer}.{part}.weight")
        return self._graph.head_norm(x, weight, heads, f"layers.{layer}.{part}")

    def _gate_and_up(self, layer: int, x: str) -> tuple[str, str]:
        graph, name = self._graph, f"layers.{layer}.gate_up"
        parts = ["ffn_up"] if self._decoder.fused else ["ffn_gate", "ffn_up"]
        if not self._alike(layer, parts):
            gate, up = (graph.linear(x, self._matrix(layer, [part]), f"layers.{layer}.{part}") for part in parts)
            return gate, up
        both = graph.linear(x, self._matrix(layer, parts), f"{name}.both")
        graph.node("Split", [both], name, outputs=2, axis=-1, num_outputs=2)
        return name, f"{name}:1"

    def _post_norm(self, layer: int, part: str, x: str) -> str:
        """The norm after a block, where the architecture has one."""
        if not self._decoder.post_norms:
            return x
        return self._graph.norm(x, self._vector(f"blk.{layer}.{part}.weight"), f"layers.{layer}.{part}")

    def _embedding(self) -> Stored:
        """The table that is looked up, and that is the head too where a file has no other: stored once."""
        stored = self._store(["token_embd.weight"], "embedding")
        if stored.form.quantised:
            width = stored.width * stored.form.bits // 8
            self._weights.alias("embedding.rows", "embedding.weight", (stored.rows, width))
        return stored

    def _alike(self, layer: int, parts: list[str]) -> bool:
        infos = [self._tensors.info(f"blk.{layer}.{part}.weight") for part in parts]
        return len({form_of(info, self._precision) for info in infos}) == 1

    def _matrix(self, layer: int, parts: list[str]) -> Stored:
        """Matrices of one form over the same input, as one."""
        names = [f"blk.{layer}.{part}.weight" for part in parts]
        return self._store(names, f"layers.{layer}.{'_'.join(part.removeprefix('attn_') for part in parts)}")

    def _store(self, names: list[str], stored_name: str) -> Stored:
        info = self._tensors.info(names[0])
        form = form_of(info, self._precision)
        if not form.exact:
            self.rounded += names
        parts = (part for name in names for part in self._tensors.slabs(name))
        return self._weights.add_matrix(stored_name, form, info.shape[1], parts)

    def _bias(self, layer: int, parts: list[str]) -> str:
        """The biases of these parts as one vector; "" where the architecture has none."""
        if not self._decoder.biased:
            return ""
        name = f"layers.{layer}.{'_'.join(parts)}.bias"
        self._weights.add(name, np.concatenate([self._tensors.vector(f"blk.{layer}.{part}.bias") for part in parts]))
        return name

    def _vector(self, name: str) -> str:
        self._weights.add(name, self._tensors.vector(name))
        return name
