"""GET /admin/models, POST /admin/load, /admin/unload, /admin/reload: for who runs the server."""

import time

from fastapi import APIRouter

from ...pool.resident import Resident
from ..accounting import asked_for
from ..generation import Wait
from ..reloading import reload
from ..schemas.admin import LoadRequest, Reloaded, ResidentBody, ResidentList, Unloaded, UnloadRequest
from ..services import Collaborators, Services

router = APIRouter(tags=["admin"])


@router.get("/admin/models")
async def list_residents(services: Collaborators) -> ResidentList:
    """What is loaded, loading or leaving, and what it takes."""
    pool = services.pool
    found = [_resident(services, resident) for resident in pool.residents]
    return ResidentList(models=found, budget=pool.budget.limit, taken=pool.budget.taken())


@router.post("/admin/load")
async def load_model(body: LoadRequest, services: Collaborators, wait: Wait) -> ResidentBody:
    """Load a model, or find that it is loaded."""
    asked_for(services.registry, body.model)
    return _resident(services, await services.pool.load(body.model, wait=wait, keep_alive=body.keep_alive))


@router.post("/admin/unload")
async def unload_model(body: UnloadRequest, services: Collaborators) -> Unloaded:
    """Unload a model; answered when its memory is back with the system."""
    asked_for(services.registry, body.model)
    return Unloaded(model=body.model, unloaded=await services.pool.unload(body.model, force=body.force))


@router.post("/admin/reload")
async def reload_models(services: Collaborators) -> Reloaded:
    """Read models.yaml again. A file that is wrong changes nothing."""
    changes = await reload(services.settings, services.registry, services.pool)
    return Reloaded(added=changes.added, changed=changes.changed, removed=changes.removed)


def _resident(services: Services, resident: Resident) -> ResidentBody:
    return ResidentBody(
        id=resident.key,
        state=resident.state,
        progress=resident.progress,
        users=resident.users,
        queue=max(0, resident.users - services.settings.slots),
        pid=resident.pid,
        memory=resident.memory(),
        promised=resident.needs,
        pinned=services.pool.pinned(resident),
        spins=resident.spins,
        idle_seconds=0.0 if resident.users else time.monotonic() - resident.last_used,
        load_seconds=resident.load_seconds,
        unload_in=None if resident.unload_at is None else max(0.0, resident.unload_at - time.monotonic()),
    )
