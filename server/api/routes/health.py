"""GET /health, /health/live, /health/ready, /version. None of them loads or wakes a model."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from ... import __version__
from ..services import Collaborators

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: Literal["ok", "loading"]


class Version(BaseModel):
    version: str


@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/health/ready", responses={503: {"model": Health, "description": "The models asked for are loading."}})
@router.get("/health", responses={503: {"model": Health, "description": "The models asked for are loading."}})
async def ready(services: Collaborators, response: Response) -> Health:
    """Requests are served: nothing that is to be loaded at the start is still loading."""
    if services.preloads.pending:
        response.status_code = 503
        return Health(status="loading")
    return Health(status="ok")


@router.get("/version")
async def version() -> Version:
    """The version of Cupola."""
    return Version(version=__version__)
