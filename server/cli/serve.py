"""`cupola serve`: the HTTP server in this process, until it is told to end."""

import ipaddress
import socket
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..settings import Settings, load_settings

EPILOG = "Examples: cupola serve · cupola serve smollm2 --port 8080 · CUPOLA_SLOTS=16 cupola serve"
BACKLOG = 2048


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(serve)


def serve(
    preload: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models to load at once; others load on first use.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (a loopback address).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 lets the system choose.")] = None,
    require_signature: Annotated[
        Path | None, typer.Option(metavar="PUBLIC_KEY", help="Load signed models only; see cupola sign.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve the OpenAI API on this device."""
    # Heavy imports stay inside, so that `cupola --help` is quick.
    import uvicorn

    from .. import logs
    from ..api.connection import bounded
    from ..api.limits import MAX_HEADER_BYTES
    from ..app import create_app, require_known

    settings = load_settings(host=host, port=port, log_level=log_level, require_signature=require_signature)
    require_startable(settings)
    names = require_known(settings, tuple(preload or ()))
    logs.configure(settings.log_level)
    listening = listen(settings)
    bound = listening.getsockname()[1]
    announce(settings.host, bound, names[0] if names else "smollm2")
    config = uvicorn.Config(
        create_app(settings, names),
        http=bounded(settings.request_seconds, settings.stall_seconds),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    uvicorn.Server(config).run(sockets=[listening])


def require_startable(settings: Settings) -> None:
    """What has to hold before anything is opened. Raises ConfigError."""
    from ..models.signing import require_key
    from ..telemetry import require_telemetry

    require_loopback(settings.host)
    if settings.require_signature is not None:
        require_key(settings.require_signature)
    require_telemetry(settings)


def require_loopback(host: str) -> None:
    """Without API keys the server is for this machine alone."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"Refusing to listen on {host}: anybody on the network could use the models. Listen on 127.0.0.1 and put a"
            " proxy that authenticates in front."
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
        raise ConfigError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Choose another port with --port."
        ) from None
    return listening


def announce(host: str, port: int, model: str) -> None:
    """Where the server is, and a line to try."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    question = '{"role": "user", "content": "What is the capital of France?"}'
    typer.echo(f"Cupola serves on {address}  (Ctrl-C ends it). Try:\n")
    typer.echo(
        f"  curl {address}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"model": "{model}", "messages": [{question}]}}\'\n'
    )
