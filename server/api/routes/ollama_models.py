"""Ollama's API about models: /api/tags, /api/show, /api/ps, /api/pull, /api/version."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from ... import __version__
from ..cancel import while_connected
from ..documents import lines as documented_lines
from ..ollama import catalogue, pulling
from ..ollama.answer import DIALECT, Line
from ..ollama.models import NamedModel
from ..services import Collaborators
from ..sse import EventStream

router = APIRouter(tags=["ollama"])

LINES: dict[int | str, dict[str, Any]] = {
    200: documented_lines(
        "Lines of progress, the last with the status `success`; with `stream: false` that one alone.",
        "status",
    )
}


@router.get("/", response_class=PlainTextResponse)
@router.head("/", response_class=PlainTextResponse, include_in_schema=False)
async def root() -> str:
    """What clients ask for to see whether anybody is there."""
    return "Cupola is running"


@router.get("/api/version")
async def version() -> dict[str, str]:
    """The version of Cupola, not of Ollama."""
    return {"version": __version__}


@router.get("/api/tags")
async def tags(services: Collaborators) -> dict[str, Any]:
    """Every model whose files are here."""
    return {"models": catalogue.installed(services)}


@router.get("/api/ps")
async def running(services: Collaborators) -> dict[str, Any]:
    """Every model that is loaded."""
    return {"models": catalogue.running(services)}


@router.post("/api/show")
async def show(body: NamedModel, services: Collaborators) -> dict[str, Any]:
    """All that is known of one model."""
    return await catalogue.shown(services, body.asked)


@router.post("/api/pull", response_model=dict[str, Any], responses=LINES)
async def pull(body: NamedModel, http: Request, services: Collaborators) -> Response | Line:
    """Bring a model of models.yaml here. It stops when all who asked for it have left, and goes on when asked again."""
    steps = services.pulls.pull(body.asked)
    if body.stream is not False:
        return EventStream(pulling.stream(steps), DIALECT)
    return await while_connected(http.receive, pulling.whole(steps))
