"""GET /metrics. It loads and wakes no model: workers report with every step, and what they said last is told."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from ..services import Collaborators

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(http: Request, services: Collaborators) -> Response:
    """Metrics for Prometheus: as OpenMetrics where that is accepted, else in its text format."""
    text, media_type = await services.exposition.text(http.headers.get("accept", ""))
    return Response(text, headers={"content-type": media_type})
