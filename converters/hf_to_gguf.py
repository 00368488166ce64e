"""A Hugging Face folder as a GGUF file, by the `gguf` package, without torch.

    python -m converters hf-to-gguf CHECKPOINT FOLDER [--precision f16]

Key by key and tensor by tensor what llama.cpp's own converter writes; a test compares them.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

from server.errors import InvalidValue
from server.models import gguf as reader

from . import gguf_parameters, gguf_special_tokens, gguf_tensors, gguf_vocabulary, hyperparameters, manifest, model_card
from .appearing import appearing
from .architectures import describe
from .checkpoint import Checkpoint, read_json
from .gguf_closing import close
from .gguf_tensors import Planned
from .gguf_vocabulary import Tokens
from .hyperparameters import Hyperparameters
from .tensors import Tensors

PRECISIONS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
AUTO = "auto"  # the smallest in which no number changes
Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion made. `rounded` matrices are stored in another type than the checkpoint's."""

    file: Path
    parameters: int
    matrices: int
    rounded: int


def convert(source: Path, folder: Path, precision: str = "f16", report: Report = lambda *_: None) -> Outcome:
    """Write `folder` with `<name>-<TYPE>.gguf` in it.

    Raises InvalidValue for a checkpoint that cannot be converted or a folder that is there, ConversionFailed for
    numbers that do not fit, StorageFull where it cannot be written; nothing is left under the name then.
    """
    if precision not in {*PRECISIONS, AUTO}:
        raise InvalidValue(f"There is no precision {precision!r}. Known: {', '.join(PRECISIONS)}, {AUTO}.")
    checkpoint = Checkpoint.open(source)
    precision = _own(checkpoint) if precision == AUTO else precision
    kind, file_type = PRECISIONS[precision]
    model = hyperparameters.read(checkpoint)
    report(0.0, "tokenizer")
    tokens = gguf_vocabulary.read(checkpoint, model.architecture, model.vocabulary)
    planned = gguf_tensors.plan(checkpoint, model, kind, _named_rows(checkpoint, tokens))
    work = manifest.Work("hf-to-gguf", {"precision": precision}, libraries=("gguf", "numpy", "tokenizers"))
    work.read(source)
    name = f"{source.resolve().name}-{precision.upper()}.gguf"
    rounded = sum(_is_rounded(checkpoint, each) for each in planned)
    with appearing(folder) as partial:
        writer = _header(checkpoint, model, tokens, planned, file_type)
        _write(partial / name, writer, checkpoint, model, planned, report)
        found = reader.read(partial / name)
        Tensors(found, describe(found))  # nothing lacks, and all have the shape that the sizes say
        types = manifest.count_types(found)
        manifest.write(partial, work, tensor_types=types, parameters=checkpoint.parameters)
    return Outcome(folder / name, checkpoint.parameters, found.matrices, rounded)


def _own(checkpoint: Checkpoint) -> str:
    """The checkpoint's own type, where it has one."""
    kinds = set(checkpoint.types())
    return "bf16" if kinds == {"BF16"} else "f16" if kinds == {"F16"} else "f32"


def _header(
    checkpoint: Checkpoint, model: Hyperparameters, tokens: Tokens, planned: list[Planned], file_type: LlamaFileType
) -> GGUFWriter:
    """A writer that knows every key and tensor."""
    writer = GGUFWriter(path=None, arch=model.architecture)
    for each in planned:
        writer.add_tensor_info(each.name, each.shape, np.dtype(np.float32), each.size, each.kind)
    writer.add_type(gguf.GGUFType.MODEL)
    try:
        _add_description(writer, checkpoint)
        gguf_parameters.add(writer, model, file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_tokenizer(writer, checkpoint, model, tokens)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise InvalidValue(f"{checkpoint.folder.name} has files with values of the wrong kind ({reason}).") from None
    return writer


def _write(
    path: Path,
    writer: GGUFWriter,
    checkpoint: Checkpoint,
    model: Hyperparameters,
    planned: list[Planned],
    report: Report,
) -> None:
    """The file, a tensor at a time: no more than one is in memory, as floats and as bytes."""
    try:
        writer.write_header_to_file(path)
        try:
            writer.write_kv_data_to_file()
        except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError, struct.error) as error:
            raise InvalidValue(f"{checkpoint.folder.name} has a value that GGUF cannot hold: {error}.") from None
        writer.write_ti_data_to_file()
        whole, done = sum(each.size for each in planned), 0
        for each in planned:
            report(done / whole, each.name)
            writer.write_tensor_data(gguf_tensors.encoded(checkpoint, model, each))
            done += each.size
    except BaseException:
        writer.close()
        raise
    close(writer, path)


def _add_description(writer: GGUFWriter, checkpoint: Checkpoint) -> None:
    """Name, licence, languages and the recommended sampling, from the model card and generation_config.json."""
    folder = checkpoint.folder
    model_card.check(folder)
    generation = folder / "generation_config.json"
    settings: dict[str, Any] = read_json(generation) if generation.is_file() else {}
    parameters, shared, expert, experts = writer.get_total_parameter_count()
    found = gguf.Metadata.load(None, folder, None, parameters)
    found.name = found.name or folder.name
    if found.size_label is None:
        found.size_label = gguf.size_label(parameters, shared, expert, experts)
    if found.sampling_penalty_repeat is None:  # the package that is released knows another name alone
        found.sampling_penalty_repeat = settings.get("repetition_penalty")
    found.set_gguf_meta_model(writer)


def _add_tokenizer(writer: GGUFWriter, checkpoint: Checkpoint, model: Hyperparameters, tokens: Tokens) -> None:
    if tokens.space_prefix is not None:
        writer.add_add_space_prefix(tokens.space_prefix)
    writer.add_tokenizer_model(tokens.model)
    writer.add_tokenizer_pre(tokens.cut)
    writer.add_token_list(tokens.tokens)
    if tokens.scores:
        writer.add_token_scores(tokens.scores)
    writer.add_token_types(tokens.types)
    size, pieces = len(tokens.tokens), tokens.model == "llama"
    gguf_special_tokens.read(checkpoint, model.architecture, size, pieces=pieces).add_to_gguf(writer, quiet=True)


def _named_rows(checkpoint: Checkpoint, tokens: Tokens) -> int:
    """How many rows of the embedding llama.cpp's converter keeps of a Gemma: those that the tokenizer could name."""
    if (checkpoint.folder / "tokenizer.model").is_file():
        return len(tokens.tokens)
    content = read_json(checkpoint.folder / "tokenizer.json")
    return len(content["model"]["vocab"]) + len(content.get("added_tokens", []))


def _is_rounded(checkpoint: Checkpoint, planned: Planned) -> bool:
    stored = checkpoint.kind(planned.source) if planned.source else "F32"
    return len(planned.shape) > 1 and planned.kind.name not in {"F32", stored}
