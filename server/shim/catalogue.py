"""The rows of the server's list: which one a name means, and how they look in a terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import CupolaError, InvalidValue, ModelNotFound
from ..settings import Settings

Row = dict[str, Any]
DEVICES = ("auto", "cpu", "gpu", "npu")
TASKS = {"chat-completion": "chat"}


def chosen(rows: Sequence[Row], name: str, device: str | None, settings: Settings) -> Row:
    """The row of an id, with or without a version, of an alias, or of any name that Cupola knows.

    Raises ModelNotFound, and InvalidValue for a device that is none.
    """
    key, wanted = name.lower(), (device or "auto").lower()
    if wanted not in DEVICES:
        raise InvalidValue(f"Device '{device}' is none; choose one of {', '.join(DEVICES)}.")
    exact = [row for row in rows if key in {row["name"].lower(), row["displayName"].lower()}]
    if exact:
        return exact[0]
    known = [row for row in rows if key == row["alias"].lower()] or _by_our_names(rows, name, settings)
    found = [row for row in known if wanted in {"auto", row["runtime"]["deviceType"].lower()}]
    if not found:
        raise ModelNotFound(f"Model '{name}' does not run on a {wanted.upper()} here. See: foundry model list")
    return found[0]


def _by_our_names(rows: Sequence[Row], name: str, settings: Settings) -> list[Row]:
    from ..models.registry import Registry  # heavy, and a look at the status has to be quick

    try:
        spec, _ = Registry.load(settings.overlay).resolve(name)
    except ModelNotFound:
        raise ModelNotFound(f"Model '{name}' was not found in the catalogue. See: foundry model list") from None
    return [row for row in rows if row["parentModelUri"] == f"cupola://{spec.name}"]


def kept(rows: Sequence[Row], condition: str | None) -> list[Row]:
    """The rows that a filter lets through: `device=GPU`, `task=!chat`, `alias=phi*`, `provider=CPUExecutionProvider`.

    Raises InvalidValue for another key.
    """
    if condition is None:
        return list(rows)
    name, _, value = condition.partition("=")
    text, wanted = value.strip().lower(), not value.strip().startswith("!")
    text = text.removeprefix("!")
    if name.strip().lower() not in {"device", "task", "alias", "provider"} or not text:
        raise InvalidValue(f"--filter {condition}: write device=, task=, alias= or provider= and a value.")
    return [row for row in rows if _fits(row, name.strip().lower(), text) is wanted]


def _fits(row: Row, name: str, text: str) -> bool:
    match name:
        case "device":
            return bool(row["runtime"]["deviceType"].lower() == text)
        case "task":
            return text in {row["task"].lower(), *tasks(row).split(", ")}
        case "provider":
            return bool(row["runtime"]["executionProvider"].lower() == text)
        case _:
            alias = row["alias"].lower()
            return bool(alias.startswith(text[:-1]) if text.endswith("*") else alias == text)


def tasks(row: Row) -> str:
    """As the list shows them."""
    task: str = row["task"]
    return TASKS.get(task, task) + (", tools" if row["supportsToolCalling"] else "")


def size(megabytes: int) -> str:
    return f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The list, all rows of an alias together, its name on the first of them."""
    head = f"{'Alias':<31}{'Device':<11}{'Task':<19}{'File Size':<13}{'License':<13}Model ID"
    yield head
    yield "-" * len(head)
    for alias in dict.fromkeys(row["alias"] for row in rows):
        shown = alias
        for row in rows:
            if row["alias"] == alias:
                place, licence = row["runtime"]["deviceType"], f"{row['license']:<12} "
                yield f"{shown:<30} {place:<11}{tasks(row):<19}{size(row['fileSizeMb']):<13}{licence}{row['name']}"
                shown = ""


def by_id(rows: Sequence[Row], ids: Sequence[str], mark: str) -> Iterator[str]:
    """Some of the models, a line each."""
    aliases = {row["name"]: row["alias"] for row in rows}
    width = len(mark) + 1  # such a sign takes two columns
    yield f"{'':<{width}} {'Alias':<30} Model ID"
    for model in ids:
        yield f"{mark} {aliases.get(model, '(not listed)'):<30} {model}"


def require_done(result: object) -> None:
    """The end of a download. Raises CupolaError where it failed."""
    if not isinstance(result, dict) or not result.get("success"):
        said = result.get("errorMessage") if isinstance(result, dict) else None
        raise CupolaError(str(said or "The download broke off; ask again, and it goes on where it was."))
