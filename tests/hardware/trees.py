"""Folders that look like /proc, /sys and /dev of other systems."""

from pathlib import Path


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write these files below a folder, which is returned."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
