"""Where a torch target's weights are; torch is not needed to know."""

import json
from dataclasses import dataclass
from pathlib import Path

from server.errors import InvalidValue

CONFIGS = {"adapter_config.json": "base_model_name_or_path", "bottleneck.json": "base"}  # of adapters, and their bases


@dataclass(frozen=True, slots=True)
class Place:
    """`base` is the one named in front of a +; `under` that, or the one that an adapter says it was trained on."""

    folder: Path
    base: Path | None

    @property
    def under(self) -> Path | None:
        if self.base is not None:
            return self.base
        for name, field in CONFIGS.items():
            if (self.folder / name).is_file():
                return Path(json.loads((self.folder / name).read_text("utf-8")).get(field) or "")
        return None

    @property
    def tokenizer(self) -> Path:
        """The folder of it; an adapter's may hold none."""
        under = self.under
        return self.folder if under is None or (self.folder / "tokenizer.json").is_file() else under


def place(target: str) -> Place:
    """CHECKPOINT, ADAPTER or CHECKPOINT+ADAPTER. Raises InvalidValue."""
    whole = Path(target).expanduser()
    first, _, second = target.rpartition("+")
    found = Place(whole, None) if whole.is_dir() else Place(Path(second).expanduser(), Path(first).expanduser())
    for folder in (found.folder, found.under):
        if folder is not None and not folder.is_dir():
            raise InvalidValue(f"There is no folder {folder}; name an adapter's base as BASE+ADAPTER.")
    return found
