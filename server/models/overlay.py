"""Adding a model or an adapter to the user's models.yaml without touching a word of what he wrote there.

The entry is put in as text at the place that the YAML parser reports, and the result is parsed again before it
replaces the file: either it says what it said before plus the entry, or nothing changes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from ..errors import ConfigError
from .adapters import AddedAdapter
from .files import private_folder, storage_errors, write_atomically
from .registry import parse_models, read_models_file
from .spec import ModelSpec


def add_model(overlay: Path, model: ModelSpec) -> None:
    """Write `model` into the overlay. Raises ConfigError where it already has that name, or cannot be changed."""
    with _changing(overlay) as before:
        write_atomically(overlay, _with_model(overlay, before, model))


def add_version(overlay: Path, model: ModelSpec) -> None:
    """As `add_model`, and the aliases of `model` are taken from the entries that had them: a name moves on.

    Who asks for the alias is served the new version; the old ones keep their own names. Raises ConfigError.
    """
    with _changing(overlay) as before:
        text = before
        for other in read_models_file(overlay).models if before else ():
            kept = [alias for alias in other.aliases if alias not in model.aliases]
            if len(kept) < len(other.aliases):
                text = _with_aliases(text, other.name, kept)
        if text != before:
            _check_aliases(overlay, text, before, model)
        write_atomically(overlay, _with_model(overlay, text, model))


def _with_model(overlay: Path, before: str, model: ModelSpec) -> str:
    """The text with an entry for a model. Raises ConfigError where the name is taken."""
    entry = model.model_dump(mode="json", exclude_none=True)
    entry["sampling"] = model.sampling.model_dump(mode="json", exclude_defaults=True)
    if not model.adapters:
        del entry["adapters"]
    known = parse_models(before, overlay).models if before else ()
    if any(other.name == model.name for other in known):
        raise ConfigError(f"{overlay} already has a model '{model.name}'; choose another name with --name.")
    return _with(overlay, before, "models", entry)


def _with_aliases(text: str, name: str, aliases: list[str]) -> str:
    """The text with other aliases of one model."""
    entries = _list_node(text, "models")
    for entry in entries.value if isinstance(entries, yaml.SequenceNode) else ():
        fields = {key.value: (key, value) for key, value in entry.value}
        if fields["name"][1].value == name:
            key, value = fields["aliases"]
            if value.flow_style:
                return f"{text[: value.start_mark.index]}{json.dumps(aliases)}{text[value.end_mark.index :]}"
            start = text.index(":", key.end_mark.index) + 1
            return f"{text[:start]} {json.dumps(aliases)}\n{text[_line_end(text, value) :]}"
    return text


def _check_aliases(overlay: Path, after: str, before: str, model: ModelSpec) -> None:
    """Nothing but aliases may have changed. Raises ConfigError."""
    wanted = yaml.safe_load(before)
    for entry in wanted["models"]:
        if "aliases" in entry:
            entry["aliases"] = [alias for alias in entry["aliases"] if alias not in model.aliases]
    try:
        agrees = yaml.safe_load(after) == wanted
    except yaml.YAMLError:
        agrees = False
    if not agrees:
        raise ConfigError(f"{overlay} is written in a way that an alias cannot be moved in; take it away by hand.")


def add_adapter(overlay: Path, adapter: AddedAdapter) -> None:
    """Write `adapter` into the overlay; paths stay as they are. Raises ConfigError where it cannot be changed, or would
    not be accepted."""
    with _changing(overlay) as before:
        entry = adapter.model_dump(mode="json", exclude_defaults=True)
        write_atomically(overlay, _with(overlay, before, "adapters", entry))


@contextmanager
def _changing(overlay: Path) -> Iterator[str]:
    """What the file says, while nobody else changes it."""
    with storage_errors(overlay.parent):
        private_folder(overlay.parent)
        with FileLock(f"{overlay}.lock"):
            yield overlay.read_text(encoding="utf-8") if overlay.is_file() else ""


def _with(overlay: Path, before: str, key: str, entry: dict[str, Any]) -> str:
    """The text with one more entry in the list under `key`."""
    if before:
        read_models_file(overlay)
    after = _inserted(before, key, entry)
    if not _says(after, before, key, entry):
        text = _block(entry, 0)
        raise ConfigError(f"{overlay} is written in a way that cannot be added to; put this under '{key}':\n{text}")
    parse_models(after, overlay)
    return after


def _says(after: str, before: str, key: str, entry: dict[str, Any]) -> bool:
    """Whether the new text means the old one plus the entry."""
    try:
        found = yaml.safe_load(after)
    except yaml.YAMLError:
        return False
    wanted = yaml.safe_load(before) or {}
    wanted[key] = [*(wanted.get(key) or []), entry]
    return bool(found == wanted)


def _inserted(text: str, key: str, entry: dict[str, Any]) -> str:
    """The text with the entry behind the last one of its list."""
    entries = _list_node(text, key)
    if entries is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}{key}:\n{_block(entry, 2)}"
    if isinstance(entries, yaml.SequenceNode) and entries.flow_style:
        end = entries.end_mark.index - 1  # before the closing bracket
        comma = ", " if entries.value else ""
        return f"{text[:end]}{comma}{json.dumps(entry)}{text[end:]}"
    if isinstance(entries, yaml.SequenceNode):
        # A block ends where the next key begins; comments before that key belong to it and stay there.
        end = _line_end(text, entries.value[-1])
        gap = "" if text[:end].endswith("\n") else "\n"
        return f"{text[:end]}{gap}{_block(entry, entries.start_mark.column)}{text[end:]}"
    end = entries.end_mark.index  # the key with nothing behind it
    return f"{text[:end]} {json.dumps([entry])}{text[end:]}"


def _list_node(text: str, name: str) -> yaml.Node | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    return next((value for key, value in root.value if key.value == name), None)


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
