"""A GGUF file in another of llama.cpp's types, by llama.cpp's own quantiser, with an importance matrix or without.

    python -m converters gguf-to-gguf MODEL.gguf FOLDER --precision q4_k_m [--imatrix auto] [--output-type q8_0]

The file appears in the folder under its name when it is whole, and not before. llama.cpp aborts the process on some
inputs, so this runs in a program of its own.
"""

import ctypes
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import llama_cpp as llama

from server.errors import ConversionFailed, InvalidValue
from server.models import gguf as reader
from server.models.lineage import Scalar
from server.runners.llama.library import NativeLog

from . import manifest
from .appearing import appearing, require_growth
from .blocks import Floats
from .imatrix import Importance

_PREFIX = "LLAMA_FTYPE_MOSTLY_"
_TENSOR_PREFIX = "GGML_TYPE_"
ALL_FLOATS = "LLAMA_FTYPE_ALL_F32"
_ONLY_READ = {"nvfp4"}  # its quantiser answers "invalid output file type"
FLOATS = re.compile(r"-(?:F32|F16|BF16)$", re.IGNORECASE)  # of the file it is made of, in its name
# Types so coarse that llama.cpp refuses to make them without an importance matrix (tensor_requires_imatrix).
NEEDS_IMPORTANCE = frozenset({"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "q2_k_s"})


@dataclass(frozen=True, slots=True)
class Ends:
    """Types of their own for the two large matrices at the ends, in llama.cpp's words; None leaves them to the mix."""

    embedding: str | None = None
    output: str | None = None

    def settings(self) -> dict[str, Scalar]:
        """What of it is set, for the record."""
        given = {"token_embedding_type": self.embedding, "output_type": self.output}
        return {name: kind for name, kind in given.items() if kind is not None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was made: the file, and how many of its tensors are of which type."""

    file: Path
    tensors: dict[str, int]


def known_types() -> list[str]:
    """The types that llama.cpp can write, in the words of `--precision`."""
    named = {name.removeprefix(_PREFIX).lower() for name in dir(llama) if name.startswith(_PREFIX)}
    return ["f32", *sorted(named - _ONLY_READ)]


def convert(
    source: Path,
    folder: Path,
    precision: str,
    importance: Importance | None = None,
    dataset: dict[str, str] | None = None,
    ends: Ends = Ends(),
) -> Outcome:
    """Write `<model>-<TYPE>.gguf` into `folder`. A file that is quantised already is taken as it is and rounded again.

    `dataset`: the text that the importance comes from, name to sha256. Raises InvalidValue for what is no GGUF file or
    no type, and ConversionFailed with llama.cpp's exit code.
    """
    found = reader.read(source)
    check(precision, importance=importance is not None)
    parameters = _parameters(precision, ends)
    _check_ends(found, ends)
    settings: dict[str, Scalar] = {"precision": precision, "imatrix": importance is not None, **ends.settings()}
    work = manifest.Work("gguf-to-gguf", settings, libraries=("llama-cpp-python",), datasets=dataset or {})
    work.read(source)
    kept = _importance_of(found, importance)
    parameters.imatrix = _as_array(kept)
    with appearing(folder) as partial:
        file = partial / f"{FLOATS.sub('', source.stem)}-{precision.upper()}.gguf"
        with closing(NativeLog(echo=False)) as log:
            code = llama.llama_model_quantize(str(source).encode(), str(file).encode(), parameters)
        if code:
            require_growth(partial)  # all that it says of a full disk is "iostream error"
            reason = log.errors[-1].rpartition(": ")[2] if log.errors else f"code {code}"
            raise ConversionFailed(f"llama.cpp cannot quantise {source.name} to {precision}: {reason}")
        tensors = manifest.count_types(reader.read(file))
        manifest.write(partial, work, tensor_types=tensors)
    return Outcome(folder / file.name, tensors)


def check(precision: str, *, importance: bool) -> None:
    """Raises InvalidValue for what is no type, and for one that is too coarse without an importance matrix."""
    if precision not in known_types():
        raise InvalidValue(f"llama.cpp has no type '{precision}'. Known: {', '.join(known_types())}.")
    if precision in NEEDS_IMPORTANCE and not importance:
        raise InvalidValue(f"{precision} needs an importance matrix: --imatrix auto, or a file of one.")


def tensor_types() -> list[str]:
    """The types that one matrix may be given."""
    written = {*known_types(), "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"}  # a mix is of several of the latter
    return sorted(kind for name, _, _ in reader.TYPES.values() if (kind := name.lower()) in written)


def _tensor_type(name: str) -> int:
    if name not in tensor_types():
        raise InvalidValue(f"llama.cpp has no type '{name}' for a matrix. Known: {', '.join(tensor_types())}.")
    return int(getattr(llama, f"{_TENSOR_PREFIX}{name.upper()}"))


def _parameters(precision: str, ends: Ends) -> llama.llama_model_quantize_params:
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama, ALL_FLOATS if precision == "f32" else f"{_PREFIX}{precision.upper()}")
    parameters.allow_requantize = True
    if ends.embedding is not None:
        parameters.token_embedding_type = _tensor_type(ends.embedding)
    if ends.output is not None:
        parameters.output_tensor_type = _tensor_type(ends.output)
    return parameters


def _check_ends(model: reader.Gguf, ends: Ends) -> None:
    """Raises InvalidValue for a type whose blocks do not fill the rows; only in its mixes llama.cpp takes another."""
    width = model.tensors["token_embd.weight"].shape[-1] if "token_embd.weight" in model.tensors else 0
    for kind in filter(None, (ends.embedding, ends.output)):
        block = next(size for name, size, _ in reader.TYPES.values() if name == kind.upper())
        if width % block:
            raise InvalidValue(f"{kind} has blocks of {block} weights, and rows of {width} are no multiple of that.")


def _importance_of(model: reader.Gguf, importance: Importance | None) -> dict[str, Floats] | None:
    """What the quantiser is told, of the matrices that the file has. Raises InvalidValue for another model's."""
    if importance is None:
        return None
    means = {name: values for name, values in importance.means().items() if name in model.tensors}
    strange = [name for name, values in means.items() if len(values) != model.tensors[name].shape[-1]]
    if not means or strange:
        raise InvalidValue(f"The importance matrix is of another model than {model.path.name}.")
    return means


def _as_array(means: dict[str, Floats] | None) -> "ctypes.Array[llama.llama_model_imatrix_data] | None":
    """As llama.cpp takes it: an array that ends with an entry without name. It refers to the arrays in `means`."""
    if means is None:
        return None
    array: ctypes.Array[llama.llama_model_imatrix_data] = (llama.llama_model_imatrix_data * (len(means) + 1))()
    for entry, (name, values) in zip(array, means.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = len(values)
    return array
