"""GET /v1/system."""

from fastapi import APIRouter

from ..schemas.system import SystemBody
from ..services import Collaborators

router = APIRouter(tags=["system"])


@router.get("/v1/system")
async def read_system(services: Collaborators) -> SystemBody:
    """What this device has and which engines can use it, at most a few seconds ago."""
    return SystemBody.model_validate(await services.inventory.system())
