"""What a route may use: the application's collaborators, made once in `server.app`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ..chat.renderer import Renderer
from ..hardware.inventory import Inventory
from ..metrics.collecting import Exposition
from ..metrics.meter import Meter
from ..models.choice import Chooser
from ..models.registry import Registry
from ..models.store import Store
from ..pool.pool import Pool
from ..pool.preload import Preloads
from ..settings import Settings
from ..telemetry import Telemetry
from .pulls import Pulls
from .responses.background import Background
from .responses.store import ResponseStore


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    registry: Registry
    store: Store
    renderer: Renderer
    chooser: Chooser
    pool: Pool
    preloads: Preloads
    inventory: Inventory
    responses: ResponseStore
    background: Background
    pulls: Pulls
    meter: Meter
    exposition: Exposition
    telemetry: Telemetry | None


def _services(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


Collaborators = Annotated[Services, Depends(_services)]
