"""Foundry Local's newer web service, 1.x and 2.x. What it shares with OpenAI's API is where that is."""

import os

from fastapi import APIRouter, Request

from ...errors import InvalidValue, ModelNotPulled, ShutdownRefused
from ..cancel import while_connected
from ..foundry import catalogue
from ..foundry.schemas import State, WebStatus
from ..services import Collaborators, Services

router = APIRouter(tags=["foundry"])


@router.get("/status")
async def read_status(http: Request, services: Collaborators) -> WebStatus:
    """Where the service is, its process, and where it keeps models."""
    endpoints = [str(http.base_url).rstrip("/")]
    return WebStatus(endpoints=endpoints, model_cache_path=str(services.settings.home), pid=os.getpid())


@router.get("/models/loaded")
async def list_loaded(services: Collaborators) -> list[str]:
    """Ids of the loaded models."""
    return catalogue.loaded(services.pool.residents)


@router.get("/models/load/{name}")
async def load(name: str, http: Request, services: Collaborators) -> State:
    """Load a model, by any of its names."""
    before = _is_loaded(services, name)
    try:
        await while_connected(http.receive, services.pool.load(name))
    except ModelNotPulled as error:
        raise InvalidValue(
            f"Model not cached: Model must be downloaded before loading. {error.message}", param="name"
        ) from None
    return State(status="already_loaded" if before else "loaded")


@router.get("/models/unload/{name}")
async def unload(name: str, services: Collaborators) -> State:
    """Unload a model that is not in use."""
    services.registry.resolve(name)
    return State(status="unloaded" if await services.pool.unload(name) else "not_loaded")


@router.post("/shutdown", include_in_schema=False)
async def shutdown() -> None:
    """Refused."""
    raise ShutdownRefused("A client cannot end this server; on its device this does: cupola service stop")


def _is_loaded(services: Services, name: str) -> bool:
    spec, choices = services.chooser.ranking(name)
    residents = [services.pool.resident(spec, choice.variant) for choice in choices]
    return any(resident is not None and resident.loaded for resident in residents)
