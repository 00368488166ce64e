"""Adding a model to the user's models.yaml without touching a word of what he wrote there.

The entry is put in as text at the place that the YAML parser reports, and the result is parsed again before it
replaces the file: either it says what it said before plus the entry, or nothing changes.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from ..errors import ConfigError
from .files import private_folder, storage_errors, write_atomically
from .registry import parse_models, read_models_file
from .spec import ModelSpec


def add_model(overlay: Path, model: ModelSpec) -> None:
    """Write `model` into the overlay. Raises ConfigError where it already has that name, or cannot be changed."""
    with storage_errors(overlay.parent):
        private_folder(overlay.parent)
        with FileLock(f"{overlay}.lock"):
            write_atomically(overlay, _with_model(overlay, model))


def _with_model(overlay: Path, model: ModelSpec) -> str:
    before = overlay.read_text(encoding="utf-8") if overlay.is_file() else ""
    known = read_models_file(overlay).models if before else ()
    if any(other.name == model.name for other in known):
        raise ConfigError(f"{overlay} already has a model '{model.name}'; choose another name with --name.")
    entry = model.model_dump(mode="json", exclude_none=True)
    entry["sampling"] = model.sampling.model_dump(mode="json", exclude_defaults=True)
    after = _inserted(before, entry)
    if not _says(after, before, entry):
        text = _block(entry, 0)
        raise ConfigError(f"{overlay} is written in a way that cannot be added to; put this under 'models':\n{text}")
    parse_models(after, overlay)
    return after


def _says(after: str, before: str, entry: dict[str, Any]) -> bool:
    """Whether the new text means the old one plus the entry."""
    try:
        found = yaml.safe_load(after)
    except yaml.YAMLError:
        return False
    wanted = yaml.safe_load(before) or {}
    wanted["models"] = [*(wanted.get("models") or []), entry]
    return bool(found == wanted)


def _inserted(text: str, entry: dict[str, Any]) -> str:
    """The text with the entry behind the last model."""
    models = _models_node(text)
    if models is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}models:\n{_block(entry, 2)}"
    if isinstance(models, yaml.SequenceNode) and models.flow_style:
        end = models.end_mark.index - 1  # before the closing bracket
        comma = ", " if models.value else ""
        return f"{text[:end]}{comma}{json.dumps(entry)}{text[end:]}"
    if isinstance(models, yaml.SequenceNode):
        # A block ends where the next key begins; comments before that key belong to it and stay there.
        end = _line_end(text, models.value[-1])
        gap = "" if text[:end].endswith("\n") else "\n"
        return f"{text[:end]}{gap}{_block(entry, models.start_mark.column)}{text[end:]}"
    end = models.end_mark.index  # `models:` with nothing behind it
    return f"{text[:end]} {json.dumps([entry])}{text[end:]}"


def _models_node(text: str) -> yaml.Node | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    return next((value for key, value in root.value if key.value == "models"), None)


def _line_end(text: str, node: yaml.Node) -> int:
    """The end of the line on which the last scalar or flow collection inside a node ends."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    newline = text.find("\n", max(node.end_mark.index - 1, node.start_mark.index))
    return newline + 1 if newline >= 0 else len(text)


def _block(entry: dict[str, Any], indent: int) -> str:
    # As ASCII: YAML takes more characters for line ends than it can write so that they are read again.
    lines = yaml.safe_dump([entry], sort_keys=False, width=1_000_000).splitlines()
    return "".join(f"{' ' * indent}{line}\n" for line in lines)
