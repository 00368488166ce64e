"""A PEFT LoRA as a file for an engine: GGUF for llama.cpp, `.onnx_adapter` for graphs that take LoRA matrices.

    python -m converters adapter-to-gguf ADAPTER BASE.gguf FOLDER
    python -m converters adapter-to-onnx ADAPTER BASE-ONNX FOLDER

Both hold float32 under the names of the GGUF tensors they belong to: `blk.0.attn_q.weight.lora_a` and `.lora_b`.
In GGUF they are [rank, in] and [out, rank], and alpha is a number of its own; for ONNX [in, rank] and [rank, out], with
the scale in B. The base decides names, shapes and the order of rows; its precision does not matter.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import ConversionFailed, InvalidValue
from server.models import gguf as reader
from server.models.genai_config import read as read_genai_config
from server.models.lora_graph import GRAPH, PARTS

from . import manifest, peft_folder
from .appearing import appearing, require_growth
from .architectures import describe, known_architectures, layout_of
from .decoder import Shape
from .gguf_closing import close
from .hf_layout import Layout
from .peft_folder import Lora, Pair
from .safetensors_file import Floats

MOST_WORDS = 400  # of ONNX Runtime, in an error
ROTATED = ("attn_q.weight", "attn_k.weight")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The file that was made, and how many matrices it changes."""

    file: Path
    matrices: int


def to_gguf(source: Path, base: Path, folder: Path) -> Outcome:
    """Write `folder` with `<name>-F32.gguf` in it.

    Raises InvalidValue for an adapter or a base that cannot be converted, or do not fit, and a folder that is there;
    StorageFull where it cannot be written; nothing is left under the name then.
    """
    from gguf import GGUFWriter

    lora, found = peft_folder.read(source), reader.read(base)
    decoder = describe(found)
    shapes = {name: shape for name, shape in decoder.shapes().items() if _is_matrix(name)}
    pairs = _placed(lora, shapes, layout_of(found), base)
    work = _work("adapter-to-gguf", source, base, ("gguf", "numpy"))
    name = f"{source.resolve().name}-F32.gguf"
    with appearing(folder) as partial:
        writer = GGUFWriter(partial / name, found.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_name(source.resolve().name)
        if work.licence != "unknown":
            writer.add_license(work.licence)
        writer.add_float32("adapter.lora.alpha", lora.alpha)
        for tensor, pair in pairs.items():
            b = pair.b * np.float32(_beyond_alpha(pair, lora.alpha))
            if decoder.permuted and tensor.endswith(ROTATED):
                b = _interleaved(b, decoder.head_size)
            writer.add_tensor(f"{tensor}.lora_a", np.ascontiguousarray(pair.a))
            writer.add_tensor(f"{tensor}.lora_b", np.ascontiguousarray(b))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        close(writer, partial / name)
        manifest.write(partial, work, tensor_types={"F32": 2 * len(pairs)}, parameters=_parameters(pairs))
    return Outcome(folder / name, len(pairs))


def to_onnx(source: Path, base: Path, folder: Path) -> Outcome:
    """Write `folder` with `<name>.onnx_adapter` in it, for a base that `gguf-to-onnx` made. Raises as `to_gguf`, and
    ConversionFailed with ONNX Runtime's own words.
    """
    import onnxruntime as ort

    lora = peft_folder.read(source)
    shapes, layout = _graph_shapes(base)
    pairs = _placed(lora, shapes, layout, base)
    work = _work("adapter-to-onnx", source, base, ("onnxruntime", "numpy"))
    tensors: dict[str, Floats] = {}
    for tensor, pair in pairs.items():
        tensors[f"{tensor}.lora_a"] = np.ascontiguousarray(pair.a.T)
        tensors[f"{tensor}.lora_b"] = np.ascontiguousarray(pair.b.T * np.float32(pair.scale))
    name = f"{source.resolve().name}.onnx_adapter"
    with appearing(folder) as partial:
        adapter: Any = ort.AdapterFormat()
        adapter.set_adapter_version(1)
        adapter.set_model_version(1)
        adapter.set_parameters({key: ort.OrtValue.ortvalue_from_numpy(values) for key, values in tensors.items()})
        try:
            adapter.export_adapter(str(partial / name))
        except RuntimeError as error:
            require_growth(partial)
            raise ConversionFailed(f"ONNX Runtime cannot write {name}: {error}"[:MOST_WORDS]) from None
        manifest.write(partial, work, tensor_types={"F32": len(tensors)}, parameters=_parameters(pairs))
    return Outcome(folder / name, len(pairs))


def _graph_shapes(base: Path) -> tuple[dict[str, Shape], Layout]:
    """The matrices that the graph of a folder takes LoRA for, and how Hugging Face calls them. Raises InvalidValue."""
    import onnx

    if not (base / GRAPH).is_file():
        raise InvalidValue(f"{base} has no {GRAPH}, so it takes no adapters; convert its GGUF file with gguf-to-onnx.")
    kind = read_genai_config(base).model.type
    layouts: list[Layout] = [
        import_module(f"{__package__}.architectures.{name}").LAYOUT for name in known_architectures()
    ]
    layout = next((layout for layout in layouts if layout.model_type == kind), None)
    if layout is None:
        raise InvalidValue(f"{base} is a {kind[:40]}, whose adapters are not supported.")
    model = onnx.load(str(base / GRAPH), load_external_data=False)
    widths = {value.name: value.type.tensor_type.shape.dim[0].dim_value for value in model.graph.input}
    shapes: dict[str, Shape] = {}
    for prop in model.metadata_props:
        if prop.key.startswith(PARTS):
            for part in prop.value.split():
                tensor, _, rows = part.partition("=")
                shapes[tensor] = (int(rows), widths[f"{prop.key.removeprefix(PARTS)}.lora_A"])
    return shapes, layout


def _is_matrix(tensor: str) -> bool:
    return tensor.startswith("blk.") and tensor.endswith(".weight") and "norm" not in tensor


def _placed(lora: Lora, shapes: dict[str, Shape], layout: Layout, base: Path) -> dict[str, Pair]:
    """The pairs by the tensors of GGUF they belong to, in the base's order. Raises InvalidValue where none fits."""
    tensors = {layout.name(tensor).removesuffix(".weight"): tensor for tensor in shapes}
    strange = next((module for module in lora.pairs if module not in tensors), None)
    if strange is not None:
        raise InvalidValue(
            f"{lora.folder.name} changes {strange[:80]!r}, and adapters of {base.name} may change matrices of attention"
            " and MLP only; if it is for this model, merge it into the checkpoint."
        )
    for module, pair in lora.pairs.items():
        shape = (len(pair.b), pair.a.shape[1])
        if shape != shapes[tensors[module]]:
            raise InvalidValue(
                f"{lora.folder.name} is for another model: {module} is {list(shape)} there, and"
                f" {list(shapes[tensors[module]])} in {base.name}."
            )
    return {tensor: lora.pairs[module] for module, tensor in tensors.items() if module in lora.pairs}


def _beyond_alpha(pair: Pair, alpha: float) -> float:
    """What is left of the scale where a reader divides alpha by the rank; 1 where that is the scale."""
    if alpha == 0:
        raise InvalidValue("The adapter's lora_alpha is 0, so it changes nothing; it cannot be written as GGUF.")
    return pair.scale * pair.rank / alpha


def _interleaved(b: Floats, head_size: int) -> Floats:
    """Rows of Q and K in the order that GGUF has them for `llama`: of each head, halves become pairs."""
    rows = np.arange(len(b)).reshape(-1, 2, head_size // 2).swapaxes(1, 2).ravel()
    return b[rows]


def _work(tool: str, source: Path, base: Path, libraries: tuple[str, ...]) -> manifest.Work:
    work = manifest.Work(tool, {}, libraries=libraries)
    work.read(base)  # whose model it is, and what was done to that
    licence, work.licence = work.licence, "unknown"
    work.before = ()  # its steps are the base's, and not the adapter's
    work.read(source)
    work.licence = licence if work.licence == "unknown" else work.licence
    work.parameters["base"] = base.name
    return work


def _parameters(pairs: dict[str, Pair]) -> int:
    return sum(pair.a.size + pair.b.size for pair in pairs.values())
