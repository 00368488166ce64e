"""The checkpoint that a name or a path means: a folder with safetensors, made of a GGUF file where there is none."""

import hashlib
from pathlib import Path

from converters import gguf_to_hf
from converters.checkpoint import checked_config
from server.errors import InvalidValue
from server.models.origin import find
from server.models.progress import Report, ignore
from server.settings import Settings

KEPT = "checkpoints"  # of $CUPOLA_HOME: what GGUF files were made into


def find_checkpoint(source: str, settings: Settings, report: Report = ignore) -> Path:
    """The folder of a path, a model's name, or a repository. A GGUF file is dequantised once and kept.

    Raises InvalidValue for what is no checkpoint, or brings pickles or code.
    """
    origin = find(source, settings, report)
    if origin.is_file() and origin.suffix == ".gguf":
        return _dequantised(origin, settings.home / KEPT)
    if (origin / "adapter_config.json").is_file():
        raise InvalidValue(f"{source} is an adapter; name the checkpoint that it was trained on.")
    checked_config(origin)
    return origin


def _dequantised(file: Path, kept: Path) -> Path:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = kept / f"{file.stem}-{digest[:12]}"
    if not folder.exists():
        gguf_to_hf.convert(file, folder)
    return folder
