"""The front matter of a README.md, as the hub's model cards have it: YAML of a stranger's, checked before a library
reads it, and its licence.
"""

import re
from pathlib import Path

from server.errors import InvalidValue

from . import plain_yaml

CARD = "README.md"
LARGEST = 1 << 20  # bytes of a card that is read for its front matter
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
        content = plain_yaml.parse("\n".join(lines[1:end]).replace("\t", "  "))  # a tab is two blanks, as for `gguf`
    except plain_yaml.NotPlain as error:
        raise InvalidValue(f"{card} has a front matter that {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{card} is no text: {' '.join(str(error).split())[:150]}.") from None
    if content is not None and not isinstance(content, dict):
        raise InvalidValue(f"{card} has a front matter that is no list of names and values.")


def licence(folder: Path) -> str:
    """As the front matter states it; "unknown" where it does not."""
    card = folder / CARD
    if not card.is_file():
        return "unknown"
    with card.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace").replace("\r\n", "\n")
    found = _LICENCE.search(head) if head.startswith("---") else None
    return found[1] if found else "unknown"
