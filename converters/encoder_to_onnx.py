"""A sentence encoder as a folder that ONNX Runtime runs, without torch.

    python -m converters encoder-to-onnx FOLDER TARGET

Weights are read from safetensors and nothing else: other files of weights are code. They stay what they are, float32.
The model's own small files, which say how its output becomes an embedding, are copied as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from server.errors import InvalidValue
from server.models.encoder_folder import GRAPH, small_files

from . import encoder_config, manifest, safetensors_file, tensor_types
from .appearing import appearing
from .checkpoint import copy_own, refuse_strangers
from .encoder_graph import EncoderGraph
from .weights import WeightFile

Report = Callable[[float, str], None]  # fraction done, what is being done
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion made: the folder, and how many matrices it has."""

    folder: Path
    matrices: int


def convert(source: Path, folder: Path, report: Report = lambda *_: None) -> Outcome:
    """Write `folder`. Raises InvalidValue for a folder that cannot be converted or a target that is there already,
    StorageFull where it cannot be written; nothing is left under the name then.
    """
    if not (source / WEIGHTS).is_file():
        raise InvalidValue(f"{source} has no {WEIGHTS}; weights of other kinds are not read.")
    refuse_strangers(source)
    config = encoder_config.read(source / "config.json")
    tensors = safetensors_file.read(source / WEIGHTS)
    copied = small_files(source)
    work = manifest.Work("encoder-to-onnx", {}, libraries=("onnx", "numpy"))
    work.read(source)
    with appearing(folder) as partial:
        report(0.0, "weights")
        data = partial / f"{GRAPH}.data"
        with data.open("wb") as file:
            graph = EncoderGraph(config, tensors, WeightFile(data, file))
            model = graph.build(source.name)
        types = tensor_types.of_graph(model)
        onnx.save_model(model, str(partial / GRAPH))
        for name in copied:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            copy_own(source / name, (partial / name).parent)
        manifest.write(partial, work, tensor_types=types)
    report(1.0, "done")
    return Outcome(folder, graph.matrices)
