"""The composition root: every collaborator is made here, once, and closed in reverse order."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI

from . import __version__
from .api import access_log, cancel, errors
from .api.accounting import Account, Accounting, ended, operation_of
from .api.drawing import draw
from .api.gate import Gate
from .api.keys import KeyRing
from .api.limits import Border
from .api.openapi import Documented
from .api.pulls import Pulls
from .api.reloading import reload_on_signal
from .api.responses.background import Background
from .api.responses.store import ResponseStore
from .api.routes import (
    admin,
    anthropic,
    chat,
    completions,
    embeddings,
    exposition,
    foundry,
    foundry_web,
    health,
    models,
    ollama,
    ollama_embed,
    ollama_models,
    rerank,
    responses,
    tokens,
)
from .api.routes import system as system_routes
from .api.services import Services
from .chat.renderer import Renderer
from .environment import supervision
from .hardware.inventory import Inventory
from .hardware.place import facts_of
from .metrics.collecting import Exposition
from .metrics.energy import Energy
from .metrics.meter import Meter
from .models.choice import Chooser, require_pulled
from .models.registry import Registry
from .models.store import Store
from .notify import supervised
from .pool.pool import Pool
from .pool.preload import Preloads
from .settings import Settings
from .telemetry import open_telemetry

log = logging.getLogger(__name__)

ROUTES = (
    chat,
    completions,
    responses,
    embeddings,
    rerank,
    tokens,
    anthropic,
    ollama,
    ollama_embed,
    ollama_models,
    foundry,
    foundry_web,
    models,
    system_routes,
    admin,
    health,
    exposition,
)


@asynccontextmanager
async def open_services(settings: Settings, preload: tuple[str, ...] = ()) -> AsyncIterator[Services]:
    """The running collaborators of a server, or of a command that needs a model without one."""
    registry = Registry.load(settings.overlay)
    store = Store(settings.home)
    async with AsyncExitStack() as stack:
        telemetry = open_telemetry(settings)
        if telemetry is not None:
            stack.push_async_callback(asyncio.to_thread, telemetry.close)
        renderer = Renderer(settings)
        stack.push_async_callback(renderer.close)
        inventory = Inventory(settings.home)
        stack.push_async_callback(inventory.close)
        _, system = await asyncio.gather(renderer.start(), inventory.system())
        for problem in system.problems:
            log.info("%s%s", problem.message, f" Mend it: {problem.fix}" if problem.fix else "")
        chooser = Chooser(registry, store, facts_of(system))
        meter = Meter(partial(_is_model, registry))
        pool = Pool(settings, chooser, store, meter)
        stack.push_async_callback(pool.close)
        preloads = Preloads(pool, preload)
        stack.push_async_callback(preloads.close)
        preloads.start()
        kept = ResponseStore(settings.stored_responses, settings.stored_response_bytes)
        background = Background(kept, settings.background_responses)
        stack.push_async_callback(background.close)
        pulls = Pulls(settings, store, chooser)
        stack.push_async_callback(pulls.close)
        shown = Exposition(meter, partial(draw, pool), Energy.of(settings.powercap))
        known = (settings, registry, store, renderer, chooser, pool, preloads, inventory)
        yield Services(*known, kept, background, pulls, meter, shown, telemetry)


def _tell(app: FastAPI, ended_account: Account) -> None:
    """A request has ended: who counts and who writes it down hear of it."""
    services: Services = app.state.services
    access_log.write(ended_account, services.settings)
    services.meter.request(ended(ended_account))
    if services.telemetry is not None and (operation := operation_of(ended_account)) is not None:
        services.telemetry.record(operation)


def _is_model(registry: Registry, name: str) -> bool:
    return any(model.name == name for model in registry.models)


def create_app(settings: Settings, preload: tuple[str, ...] = (), *, hears_hangup: bool = False) -> FastAPI:
    """The HTTP application. Its lifespan opens and closes the services.

    `hears_hangup`: SIGHUP has models.yaml read again. For the main thread of a process of its own.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, preload) as services:
            app.state.services = services
            if hears_hangup:
                _reload_on_hangup(services)
            async with supervised(supervision()):  # the socket listens already, and now there is who accepts
                yield

    app = Documented(
        title="Cupola",
        version=__version__,
        summary="An OpenAI-compatible local server for small language models.",
        lifespan=lifespan,
        docs_url=None,  # the pages load scripts from a third party; the document itself is at /openapi.json
        redoc_url=None,
    )
    errors.install(app)
    cancel.install(app)
    app.add_middleware(Gate, ring=KeyRing(settings))
    app.add_middleware(Border, settings=settings)
    app.add_middleware(Accounting, tell=partial(_tell, app))  # the last one added is the first to see a request
    for module in ROUTES:
        app.include_router(module.router)
    return app


def _reload_on_hangup(services: Services) -> None:
    """Windows has no such signal; POST /admin/reload does the same everywhere."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None:
        return
    running: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive

    def heard() -> None:
        task = asyncio.ensure_future(reload_on_signal(services.settings, services.registry, services.pool))
        running.add(task)
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(hangup, heard)


def require_known(settings: Settings, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each is a model whose files are here: a typing error shall stop the start, not a later request."""
    registry, store = Registry.load(settings.overlay), Store(settings.home)
    for name in names:
        require_pulled(registry, store, name)
    return names
