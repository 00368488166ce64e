"""A GGUF file as the folder that transformers loads: weights taken apart into floats, config, tokenizer, template.

    python -m converters gguf-to-hf MODEL.gguf FOLDER [--precision fp32]

Without torch. What was quantised stays as coarse as it was: this is a start for pruning, training and other converters
where the makers' own checkpoint is not at hand, not a way back to it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from server.errors import InvalidValue
from server.models import gguf as reader
from server.models.gguf import Gguf

from . import manifest, safetensors_writer, tokenizer_json
from .appearing import appearing
from .architectures import describe, layout_of
from .blocks import Floats
from .decoder import Decoder
from .genai_folder import tokenizer_config
from .hf_layout import config_of
from .safetensors_writer import FloatKind
from .tensors import Tensors, as_floats
from .tokenizer_json import Vocabulary, end_ids, token_id

PRECISIONS: dict[str, FloatKind] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}
TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion made."""

    folder: Path
    parameters: int
    tensors: int


def convert(source: Path, folder: Path, precision: str = "fp32", report: Report = lambda *_: None) -> Outcome:
    """Write `folder`. Raises InvalidValue for a file that cannot be converted or a folder that is there already,
    StorageFull where it cannot be written; nothing is left under the name then.
    """
    if precision not in PRECISIONS:
        raise InvalidValue(f"There is no precision {precision!r}. Known: {', '.join(PRECISIONS)}.")
    kind = PRECISIONS[precision]
    found = reader.read(source)
    decoder = describe(found)
    tensors = Tensors(found, decoder)
    vocabulary = tokenizer_json.read(found)
    work = manifest.Work("gguf-to-hf", {"precision": precision}, libraries=("numpy",))
    work.read(source)
    with appearing(folder) as partial:
        _write_configs(partial, found, decoder, vocabulary, kind)
        shapes = {layout_of(found).name(name): shape for name, shape in decoder.shapes().items()}
        pieces = _pieces(found, decoder, tensors, report)
        safetensors_writer.write(partial / "model.safetensors", shapes, kind, pieces)
        parameters = sum(prod(shape) for shape in shapes.values())
        manifest.write(partial, work, tensor_types={kind: len(shapes)}, parameters=parameters)
    return Outcome(folder, parameters, len(shapes))


def _pieces(found: Gguf, decoder: Decoder, tensors: Tensors, report: Report) -> Iterator[Floats]:
    """The numbers of all tensors in the decoder's order, a slab at a time."""
    shapes, offset = decoder.shapes(), layout_of(found).norm_offset
    whole, done = sum(prod(shape) for shape in shapes.values()), 0
    for name, shape in shapes.items():
        report(done / whole, name)
        if len(shape) == 1:
            values = tensors.vector(name)
            yield values - offset if name.endswith("norm.weight") else values
        else:
            yield from map(as_floats, tensors.slabs(name))
        done += prod(shape)


def _write_configs(folder: Path, found: Gguf, decoder: Decoder, vocabulary: Vocabulary, kind: FloatKind) -> None:
    ends = end_ids(found, vocabulary)
    pad = token_id(found, "padding", decoder.vocabulary)
    ids = {"bos_token_id": vocabulary.bos, "eos_token_id": ends[0], "pad_token_id": pad}
    ids = {key: number for key, number in ids.items() if number is not None}
    config = config_of(layout_of(found), decoder, found) | ids | {"torch_dtype": TORCH[kind]}
    template = found.metadata.get("tokenizer.chat_template")
    tokenizer = tokenizer_config(found, decoder, vocabulary) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    _dump(folder / "config.json", config)
    _dump(folder / "generation_config.json", ids | {"eos_token_id": ends if len(ends) > 1 else ends[0]})
    _dump(folder / "tokenizer.json", tokenizer_json.build(vocabulary))
    _dump(folder / "tokenizer_config.json", tokenizer)
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _dump(path: Path, content: dict[str, Any]) -> None:
    indent = None if path.name == "tokenizer.json" else 2
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
