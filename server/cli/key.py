"""`cupola key`: who may use a server, made, shown and taken away. A running server sees it with its next request."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer
from filelock import FileLock

from ..api.keys import NAME, SCOPES, Key, KeyFile, Scope, hash_of, new_secret, read_keys
from ..errors import ConfigError, InvalidValue, NotFound
from ..models.files import private_folder, write_atomically
from ..settings import load_settings

EPILOG = (
    "Examples: cupola key create laptop · cupola key create grafana --scopes metrics · cupola key list ·"
    " cupola key revoke laptop"
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called, after who uses it.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="API keys: who may use a server.", epilog=EPILOG, no_args_is_help=True)
    group.command(epilog="Examples: cupola key create laptop · cupola key create ops --scopes infer,admin")(create)
    group.command("list", epilog="Examples: cupola key list · cupola key list --json")(list_keys)
    group.command(epilog="Examples: cupola key revoke laptop · cupola key revoke laptop --json")(revoke)
    app.add_typer(group, name="key", epilog=EPILOG)


def create(
    name: Name,
    scopes: Annotated[
        str, typer.Option(help=f"What it may do, with commas: {', '.join(SCOPES)} (load, unload, download).")
    ] = "infer",
    as_json: Json = False,
) -> None:
    """Make a key. It is printed once: the file keeps only its hash."""
    if not re.fullmatch(NAME, name):
        raise InvalidValue(f"{name[:80]!r} is no name for a key: letters, digits, '.', '_' and '-', at most 64.")
    granted, secret, path = scopes_of(scopes), new_secret(), load_settings().keys_path
    with changing(path) as keys:
        if name in keys:
            raise InvalidValue(f"There is a key of the name {name!r} already. Revoke it first, or choose another name.")
        keys[name] = Key(name, hash_of(secret), granted, datetime.now(UTC).replace(microsecond=0))
    if as_json:
        typer.echo(json.dumps({"name": name, "scopes": granted, "key": secret}, indent=2))
        return
    typer.echo(secret)
    typer.secho(f"The key {name!r} is made, for {', '.join(granted)}. Keep it: it is not shown again.", err=True)


def list_keys(as_json: Json = False) -> None:
    """Show the names of all keys and what they may do."""
    path = load_settings().keys_path
    keys = read_keys(path).keys
    if as_json:
        shown = [{"name": key.name, "scopes": key.scopes, "created": key.created} for key in keys]
        typer.echo(msgspec.json.format(msgspec.json.encode({"keys": shown}), indent=2).decode())
        return
    if not keys:
        typer.echo(f"There is no key in {path}. Make one with: cupola key create NAME")
        return
    typer.echo(f"{'NAME':<24} {'SCOPES':<22} CREATED")
    for key in keys:
        created = key.created.strftime("%Y-%m-%d") if key.created else ""
        typer.echo(f"{key.name:<24} {', '.join(key.scopes):<22} {created}".rstrip())


def revoke(name: Name, as_json: Json = False) -> None:
    """Take a key away. A running server refuses it from its next request on."""
    path = load_settings().keys_path
    with changing(path) as keys:
        if name not in keys:
            raise NotFound(f"There is no key of the name {name[:80]!r}. Known: {', '.join(keys) or 'none'}.")
        del keys[name]
        left = len(keys)
    typer.echo(json.dumps({"revoked": name}) if as_json else f"The key {name!r} is no longer valid.")
    if not left:
        typer.secho(f"No key is left in {path}: delete it to have a server on loopback without keys again.", err=True)


def scopes_of(text: str) -> tuple[Scope, ...]:
    """The scopes in a list with commas, in their usual order. Raises InvalidValue."""
    asked = {part for item in text.split(",") if (part := item.strip())}
    unknown = sorted(asked - set(SCOPES))
    if unknown or not asked:
        wrong = f"There is no scope {unknown[0][:40]!r}" if unknown else "A key needs at least one scope"
        raise InvalidValue(f"{wrong}; there are {', '.join(get_args(Scope))}.", param="scopes")
    return tuple(scope for scope in SCOPES if scope in asked)


@contextmanager
def changing(path: Path) -> Iterator[dict[str, Key]]:
    """The keys of a file by name, for a change that is written when the block ends well. One writer at a time."""
    try:
        private_folder(path.parent)
        with FileLock(f"{path}.lock"):
            keys = {key.name: key for key in read_keys(path).keys}
            yield keys
            content = msgspec.json.format(msgspec.json.encode(KeyFile(tuple(keys.values()))), indent=2).decode()
            write_atomically(path, f"{content}\n", private=True)
    except OSError as error:
        raise ConfigError(f"The keys in {path} cannot be changed: {error.strerror or error}.") from None
