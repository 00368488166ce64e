"""The front matter of a README.md, as the hub's model cards have it: YAML of a stranger's, checked before a library
reads it, and its licence.
"""

import re
from pathlib import Path

import yaml

from server.errors import InvalidValue

CARD = "README.md"
LARGEST = 1 << 20  # bytes of a card that is read for its front matter
LARGEST_FRONT, DEEPEST = 256 << 10, 32  # characters and levels of that
_HEAD = 10_000  # bytes that are looked at for the licence
_LICENCE = re.compile(r"^license: *[\"']?([\w.+-]+)", re.MULTILINE)


def check(folder: Path) -> None:
    """Raises InvalidValue for a card that is large, no text, or whose front matter is no YAML.

    Nor may it have aliases: a few lines of them stand for lists without end, and no card needs any.
    """
    card = folder / CARD
    if not card.is_file():
        return
    if card.stat().st_size > LARGEST:
        raise InvalidValue(f"{card} has more than {LARGEST >> 20} MB.")
    try:
        lines = card.read_text(encoding="utf-8").splitlines()
        if lines[:1] != ["---"]:
            return
        end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
        # as the package `gguf` does: a tab is two blanks
        front = "\n".join(lines[1:end]).replace("\t", "  ")
        strange = _strange(front)
        content = None if strange else yaml.safe_load(front)
    except (OSError, ValueError, ArithmeticError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InvalidValue(f"{card} has a front matter that is no YAML: {reason}.") from None
    except (AttributeError, KeyError, TypeError):  # what the library does with keys that cannot be keys
        raise InvalidValue(f"{card} has a front matter that is no YAML.") from None
    if strange:
        raise InvalidValue(f"{card} has a front matter {strange}.")
    if content is not None and not isinstance(content, dict):
        raise InvalidValue(f"{card} has a front matter that is no list of names and values.")


def _strange(front: str) -> str:
    """What would keep a library busy for long; "" for nothing. PyYAML's time grows with size times depth."""
    if len(front) > LARGEST_FRONT:
        return f"of more than {LARGEST_FRONT >> 10} KB"
    depth = 0
    for event in yaml.parse(front, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return f"that nests deeper than {DEEPEST} levels"
        if isinstance(event, yaml.AliasEvent):
            return "with aliases (*name), which are not followed; write them out"
    return ""


def licence(folder: Path) -> str:
    """As the front matter states it; "unknown" where it does not."""
    card = folder / CARD
    if not card.is_file():
        return "unknown"
    with card.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace").replace("\r\n", "\n")
    found = _LICENCE.search(head) if head.startswith("---") else None
    return found[1] if found else "unknown"
