"""POST /api/embed, POST /api/embeddings: Ollama's API for vectors of text."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...worker.messages import WHOLE
from ..accounting import asked_for, count_texts
from ..cancel import while_connected
from ..generation import Wait
from ..ollama.answer import nanoseconds
from ..ollama.models import EmbeddingsRequest, EmbedRequest
from ..services import Collaborators, Services
from ..vectors import check_dimensions, rows_of, shortened

router = APIRouter(tags=["ollama"])


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of texts, the tokens of those texts, and the seconds that the model was waited for and all took."""

    rows: list[list[float]]
    tokens: int
    loading: float
    total: float


@router.post("/api/embed", response_model=dict[str, Any])
async def embed(body: EmbedRequest, http: Request, services: Collaborators, wait: Wait) -> Response:
    """A vector for each text; for no text the model is loaded."""
    services.pool.keep(body.model, body.keep_alive)
    limit = None if body.truncate is False else WHOLE
    work = _vectors(services, body.model, body.inputs, limit, body.dimensions, wait)
    vectors = await while_connected(http.receive, work)
    return _json(
        {
            "model": body.model,
            "embeddings": vectors.rows,
            "total_duration": nanoseconds(vectors.total),
            "load_duration": nanoseconds(vectors.loading),
            "prompt_eval_count": vectors.tokens,
        }
    )


@router.post("/api/embeddings", response_model=dict[str, Any])
async def embeddings(body: EmbeddingsRequest, http: Request, services: Collaborators, wait: Wait) -> Response:
    """The older form: one text, one vector."""
    services.pool.keep(body.model, body.keep_alive)
    texts = [body.prompt] if body.prompt else []
    work = _vectors(services, body.model, texts, WHOLE, None, wait)
    vectors = await while_connected(http.receive, work)
    return _json({"embedding": vectors.rows[0] if vectors.rows else []})


async def _vectors(
    services: Services, name: str, texts: list[str], limit: int | None, dimensions: int | None, wait: float | None
) -> Vectors:
    began = time.monotonic()
    asked_for(services.registry, name)
    async with services.pool.lease(name, wait, purpose="vectors") as resident:
        loaded = time.monotonic()
        check_dimensions(resident, dimensions)
        if not texts:
            return Vectors([], 0, loaded - began, loaded - began)
        encoded = await resident.encode([*texts], limit)
        rows = rows_of(resident, encoded)
        count_texts(services.meter, resident.spec.name, encoded.tokens)
    listed = await asyncio.to_thread(shortened(rows, dimensions).tolist)  # beside the loop: they may be many numbers
    return Vectors(listed, sum(encoded.tokens), loaded - began, time.monotonic() - began)


def _json(body: dict[str, Any]) -> Response:
    """Not through a schema, which would look at every number."""
    return Response(msgspec.json.encode(body), media_type="application/json")
