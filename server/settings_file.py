"""config.yaml: settings by their names. Its values are text, read by the same rules as those of the environment."""

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from .errors import ConfigError

NAME = "config.yaml"
Value = str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and the line of its key, counted from 1."""

    value: Value
    line: int


def read_file(path: Path, known: Collection[str], *, needed: bool) -> dict[str, Entry]:
    """The settings of a file, which may be missing unless it is `needed`.

    Raises ConfigError, with the file and the line, for what is not a setting with a value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not needed:
            return {}
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    return parse(text, path, known)


def parse(text: str, path: Path, known: Collection[str]) -> dict[str, Entry]:
    """The same for the text of the file at `path`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:  # its text quotes the line, which may hold a key
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigError(f"{path}, line {line}: this is not valid YAML: {error.problem}.") from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{path} is not valid YAML: it nests too deeply, or has characters that are none.") from None
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} has to be a list of lines like 'port: 8080'.")
    found: dict[str, Entry] = {}
    for key, value in root.value:
        name, place = str(key.value), f"{path}, line {key.start_mark.line + 1}"
        if name not in known:
            raise ConfigError(f"{place}: unknown setting {name[:80]!r}. {advice(name, known)}")
        if name in found:
            raise ConfigError(f"{place}: {name} is set already in line {found[name].line}.")
        found[name] = Entry(_value(value, f"{place}: {name}"), key.start_mark.line + 1)
    return found


def _value(node: yaml.Node, place: str) -> Value:
    """Text as it stands there: YAML 1.1 would make `no` of a name, and 22:30 a number."""
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return tuple(str(item.value) for item in node.value)
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{place} takes a single value or a list of them.")
    return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)


def advice(unknown: str, known: Collection[str]) -> str:
    """What somebody may have meant, and all that there is."""
    near = get_close_matches(unknown, known, n=1)
    return f"{f'Did you mean {near[0]}? ' if near else ''}Known: {', '.join(sorted(known))}."
