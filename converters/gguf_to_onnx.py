"""A GGUF file as a folder that ONNX Runtime and ONNX Runtime GenAI run, without torch.

    python -m converters gguf-to-onnx MODEL.gguf FOLDER [--precision exact]

The folder appears under its name when it is whole, and not before.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import get_args

import onnx

from server.errors import InvalidValue
from server.models import gguf as reader

from . import genai_folder, manifest, tensor_types
from .adaptable import GRAPH, adaptable
from .appearing import appearing
from .architectures import describe
from .assembly import Assembly, Report
from .tensors import Tensors
from .weights import Precision, WeightFile


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion made. `rounded` are the names of matrices that are not bit for bit the file's."""

    folder: Path
    parameters: int
    size: int  # bytes of all files
    rounded: tuple[str, ...]
    notes: tuple[str, ...]


def convert(source: Path, folder: Path, precision: Precision = "exact", report: Report = lambda *_: None) -> Outcome:
    """Write `folder`. Raises InvalidValue for a file that cannot be converted or a folder that is there already,
    StorageFull where it cannot be written; nothing is left under the name then.
    """
    if precision not in get_args(Precision):
        raise InvalidValue(f"There is no precision {precision!r}. Known: {', '.join(get_args(Precision))}.")
    work = manifest.Work("gguf-to-onnx", {"precision": precision}, libraries=("onnx", "numpy"))
    work.read(source)
    found = reader.read(source)
    decoder = describe(found)
    tensors = Tensors(found, decoder)
    parameters = sum(prod(info.shape) for info in found.tensors.values())
    with appearing(folder) as partial:
        report(0.0, "tokenizer")
        genai_folder.write(partial, found, decoder)
        with (partial / "model.onnx.data").open("wb") as data:
            assembly = Assembly(tensors, decoder, precision, WeightFile(partial / "model.onnx.data", data), report)
            assembly.run()
        model = assembly.model(source.stem)
        types = tensor_types.of_graph(model)
        onnx.save_model(model, str(partial / "model.onnx"))
        onnx.save_model(adaptable(model, decoder), str(partial / GRAPH))
        manifest.write(partial, work, tensor_types=types, parameters=parameters)
    report(1.0, "done")
    size = sum(file.stat().st_size for file in folder.iterdir())
    return Outcome(folder, parameters, size, tuple(assembly.rounded), decoder.notes)
