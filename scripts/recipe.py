"""What every recipe is: a YAML file of known fields, with changes from the command line, checked before it is used."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from converters import plain_yaml
from server.errors import InvalidValue

Kind = TypeVar("Kind", bound=BaseModel)
LARGEST = 1 << 20  # bytes of a recipe


class Part(BaseModel):
    """A section of a recipe: an unknown field is a mistake, and said."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def refuse_code(loss: str | None, path: Path, *, allow_scripts: bool) -> None:
    """Raises InvalidValue for a recipe that names a function to run, unless that is allowed."""
    if loss is not None and not allow_scripts:
        raise InvalidValue(
            f"{path} names a loss of its own, and using one runs its code. Allow it with --allow-scripts if you trust"
            " the recipe."
        )


def anchored(fields: dict[str, Any], path: Path, models: tuple[str, ...]) -> dict[str, Any]:
    """A recipe's own fields with its paths from its folder: `data` always, a model where there is such a path.

    Raises InvalidValue.
    """
    made = dict(fields)
    for name in ("data", *models):
        given = made.get(name)
        try:
            if isinstance(given, str) and (name == "data" or (path.parent / given).exists()):
                made[name] = str((path.parent / Path(given).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError):  # too long; of a user that is not known; with a NUL in it
            raise InvalidValue(f"{path}: {name}: {str(given)[:40]!r} cannot be a path.") from None
    return made


def merged(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Fields with others in their place; a section keeps what is not changed in it."""
    made = dict(fields)
    for name, value in changes.items():
        inner = made.get(name)
        made[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return made


def mapping(path: Path) -> dict[str, Any]:
    """A YAML file with fields. Raises InvalidValue."""
    try:
        if not path.is_file():
            raise InvalidValue(f"There is no file {path}.")
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} is larger than a recipe ever is.")
        content = plain_yaml.parse(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidValue(f"{path} is no text in UTF-8.") from None
    except plain_yaml.NotPlain as error:
        raise InvalidValue(f"{path} {error}.") from None
    if not isinstance(content, dict):
        raise InvalidValue(f"{path} holds no fields.")
    return content


def checked(kind: type[Kind], fields: dict[str, Any], path: Path, section: str = "") -> Kind:
    """Raises InvalidValue that names each field which is wrong, with the section that it stands in."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        within = (section,) if section else ()
        found = [
            f"{'.'.join(map(str, (*within, *item['loc']))) or 'the recipe'}: {_wrong(kind, item)}"
            for item in error.errors()
        ]
        raise InvalidValue(f"{path}: {'; '.join(found)}.") from None


def _wrong(kind: type[BaseModel], item: ErrorDetails) -> str:
    """What is wrong with a field. One that is unknown is mostly misspelt, so the fields that there are are told."""
    if item["type"] != "extra_forbidden":
        return item["msg"].removeprefix("Value error, ")
    *outer, last = item["loc"]
    known = _fields(kind, outer)
    likely = get_close_matches(str(last), known, n=1)
    if likely:
        return f"there is no such field (did you mean {likely[0]}?)"
    return f"there is no such field (known: {', '.join(known)})" if known else "there is no such field"


def _fields(kind: type[BaseModel], steps: list[int | str]) -> list[str]:
    """The names in a section; none where several kinds of section could stand there."""
    for step in steps:
        if isinstance(step, int):
            continue
        found = _sections(kind.model_fields[step].annotation) if step in kind.model_fields else []
        if len(found) != 1:
            return []
        kind = found[0]
    return [field.alias or name for name, field in kind.model_fields.items()]


def _sections(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _sections(inner)]


def assigned(changes: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """Fields of a recipe from `a.b=value` and from options; values are YAML. Raises InvalidValue."""
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise InvalidValue(f"--set takes FIELD=VALUE, and '{change}' has no '='.")
        place = fields
        *outer, last = name.split(".")
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise InvalidValue(f"--set {name}: {part} has a value already, and so no fields.")
        try:
            place[last] = plain_yaml.parse(value)
        except plain_yaml.NotPlain as error:
            raise InvalidValue(f"--set {name}: the value {error}.") from None
    return fields
