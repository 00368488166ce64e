"""The end of a GGUF file that the `gguf` package wrote, and whether all of it is on the disk."""

from pathlib import Path
from typing import Any

from .appearing import require_growth


def close(writer: Any, path: Path) -> None:
    """Close a GGUFWriter of one file. Raises OSError where bytes are missing.

    NumPy writes arrays through a stream of its own, and what that cannot flush when it is closed nobody says.
    """
    for file in writer.fout or ():
        file.flush()
    intended = max((file.tell() for file in writer.fout or ()), default=0)
    writer.close()
    if path.stat().st_size != intended:
        require_growth(path.parent)  # it says why
        raise OSError(None, f"{path.stat().st_size} of {intended} bytes were written")
