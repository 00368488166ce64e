"""The key of a server that we ask, from a file."""

from pathlib import Path

from server.errors import InvalidValue

LARGEST = 10_000  # bytes


def read_key(path: Path) -> str:
    """One line of plain characters. Raises InvalidValue, whose words have nothing of the file."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} is no file with a key.")
        key = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidValue(f"The key file {path} cannot be read.") from None
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidValue(f"{path} holds no key: one line of plain characters is one.")
    return key
