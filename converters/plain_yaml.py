"""YAML as people write it: without what would keep a library busy for long."""

from typing import Any

import yaml

LARGEST, DEEPEST = 256 << 10, 32  # characters and levels; PyYAML's time grows with size times depth


class NotPlain(ValueError):
    """Why a text is not read, to be put behind the name of what it is of: "nests deeper than 32 levels"."""


def parse(text: str) -> Any:
    """What a text means. Raises NotPlain.

    There may be no aliases: a few lines of them stand for lists without end, and nothing here needs any.
    """
    if len(text) > LARGEST:
        raise NotPlain(f"has more than {LARGEST >> 10} KB")
    try:
        _check(text)
        return yaml.safe_load(text)
    except NotPlain:
        raise
    except (ValueError, ArithmeticError, RecursionError, yaml.YAMLError) as error:
        raise NotPlain(f"is no YAML: {' '.join(str(error).split())[:150]}") from None
    except (AttributeError, KeyError, TypeError):  # what the library does with keys that cannot be keys
        raise NotPlain("is no YAML") from None


def _check(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise NotPlain(f"nests deeper than {DEEPEST} levels")
        if isinstance(event, yaml.AliasEvent):
            raise NotPlain("has aliases (*name), which are not followed; write them out")
