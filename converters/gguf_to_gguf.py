"""A GGUF file at another quantisation, through llama.cpp's own quantiser.

    python -m converters gguf-to-gguf MODEL.gguf FOLDER --precision q4_0

The file appears in the folder under its name when it is whole, and not before. llama.cpp aborts the process on some
inputs, so this runs in a program of its own.
"""

from pathlib import Path

import llama_cpp as llama

from server.errors import ConversionFailed, InvalidValue
from server.models import gguf as reader
from server.models.files import publish

_PREFIX = "LLAMA_FTYPE_MOSTLY_"


def known_types() -> list[str]:
    """The types that llama.cpp can write, in the words of `--precision`."""
    return sorted(name.removeprefix(_PREFIX).lower() for name in dir(llama) if name.startswith(_PREFIX))


def quantise(source: Path, folder: Path, precision: str) -> Path:
    """Write `<model>-<TYPE>.gguf` into `folder`. A file that is quantised already is taken as it is and rounded again.

    Raises InvalidValue for what is no GGUF file or no type, and ConversionFailed with llama.cpp's exit code.
    """
    reader.read(source)
    if precision not in known_types():
        raise InvalidValue(f"llama.cpp has no type '{precision}'. Known: {', '.join(known_types())}.")
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{source.stem}-{precision.upper()}.gguf"
    draft = final.with_name(f".{final.name}.partial")
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama, f"{_PREFIX}{precision.upper()}")
    parameters.allow_requantize = True
    try:
        code = llama.llama_model_quantize(str(source).encode(), str(draft).encode(), parameters)
        if code:
            raise ConversionFailed(f"llama.cpp cannot quantise {source.name} to {precision} (code {code}).")
        publish(draft, final)
    finally:
        draft.unlink(missing_ok=True)
    return final
