"""`cupola serve`: the HTTP server in this process, until it is told to end."""

import errno
import gc
import ipaddress
import socket
from pathlib import Path
from typing import Annotated

import typer

from ..address import url_of
from ..errors import ConfigError, NotFound
from ..settings import Settings, load_settings
from .arguments import model_names

EPILOG = "Examples: cupola serve · cupola serve smollm2 --port 8080 · CUPOLA_SLOTS=16 cupola serve"
BACKLOG = 2048


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(serve)


def serve(
    preload: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL", help="Models to load at once; others load on first use.", autocompletion=model_names
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; beyond loopback an API key is needed.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 lets the system choose.")] = None,
    require_signature: Annotated[
        Path | None, typer.Option(metavar="PUBLIC_KEY", help="Load signed models only; see cupola sign.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file; else config.yaml in CUPOLA_HOME.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="pretty, json, or auto: pretty on a terminal.")] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts into the log.")] = False,
    record: Annotated[Path | None, typer.Option(hidden=True, help="Where cupola service finds this server.")] = None,
) -> None:
    """Serve the OpenAI API on this device."""
    settings = load_settings(
        host=host,
        port=port,
        config=config,
        log_level=log_level,
        log_format=log_format,
        log_prompts=log_prompts or None,
        require_signature=require_signature,
    )
    run_server(settings, tuple(preload or ()), record)


def run_server(settings: Settings, preload: tuple[str, ...], record: Path | None = None) -> None:
    """Serve until this process is told to end; `record`: where to write down that it runs.

    `preload` takes the place of the setting. Raises ConfigError before anything is opened.
    """
    gc.disable()  # until everything is imported and made: nothing of it goes, so looking for garbage is a tenth of it
    # Heavy imports stay inside, so that the help of this command is quick.
    import uvicorn

    from .. import logs
    from ..api.connection import bounded
    from ..api.limits import MAX_HEADER_BYTES
    from ..app import create_app
    from ..service import log_beside, write_record

    guarded = require_startable(settings)
    names = startable_models(settings, preload)
    logs.configure(settings.log_level, settings.log_format, file=log_beside(record) if record is not None else None)
    listening = listen(settings)
    bound = listening.getsockname()[1]
    if record is not None:
        write_record(record, settings.host, bound)
    announce(settings.host, bound, names[0] if names else "smollm2", guarded=guarded)
    config = uvicorn.Config(
        create_app(settings, names, hears_hangup=True),
        http=bounded(settings.request_seconds, settings.stall_seconds),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    gc.freeze()
    gc.enable()
    uvicorn.Server(config).run(sockets=[listening])


def require_startable(settings: Settings) -> bool:
    """What has to hold before anything is opened; whether requests will need a key. Raises ConfigError."""
    from ..api.keys import KeyRing
    from ..models.signing import require_key
    from ..telemetry import require_telemetry

    ring = KeyRing(settings)
    if not ring.usable:
        require_loopback(settings.host)
    if settings.require_signature is not None:
        require_key(settings.require_signature)
    require_telemetry(settings)
    return ring.guarded


def startable_models(settings: Settings, preload: tuple[str, ...]) -> tuple[str, ...]:
    """The models to load at once: those of the command line or else of the setting, and the pinned ones.

    Raises ModelNotFound and ModelNotPulled, and ConfigError where a setting names such a model: a service manager that
    starts the server again will not bring it here.
    """
    from ..app import require_known

    def of_setting(name: str) -> tuple[str, ...]:
        try:
            return require_known(settings, getattr(settings, name))
        except NotFound as error:
            raise ConfigError(f"CUPOLA_{name.upper()}: {error.message}") from None

    return (*(require_known(settings, preload) or of_setting("preload")), *of_setting("pinned"))


def require_loopback(host: str) -> None:
    """Without API keys the server is for this machine alone. So in a container: its network has others in it."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"Refusing to listen on {host or 'every address'} without an API key: anybody on the network could use the"
            " models. Make a key with: cupola key create NAME (or set CUPOLA_API_KEY), or listen on 127.0.0.1."
        )


def listen(settings: Settings) -> socket.socket:
    """The listening socket; ConfigError when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)  # now, so that who reads the address may connect at once and wait
    except OSError as error:
        listening.close()
        port = error.errno in {errno.EADDRINUSE, errno.EACCES}
        hint = "another port with --port" if port else "an address of this machine with --host"
        raise ConfigError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Choose {hint}."
        ) from None
    return listening


def announce(host: str, port: int, model: str, *, guarded: bool) -> None:
    """Where the server is, and a line to try."""
    address = url_of(host, port)
    key = ' -H "Authorization: Bearer $CUPOLA_API_KEY"' if guarded else ""
    question = '{"role": "user", "content": "What is the capital of France?"}'
    typer.echo(f"Cupola serves on {address}  (Ctrl-C ends it). Try:\n")
    typer.echo(
        f"  curl {address}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
        f'    -d \'{{"model": "{model}", "messages": [{question}]}}\'\n'
    )
