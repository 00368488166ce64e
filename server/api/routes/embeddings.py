"""POST /v1/embeddings."""

import asyncio

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...runners.base import FloatRows
from ..accounting import asked_for, count_texts
from ..cancel import while_connected
from ..generation import Wait
from ..schemas.embeddings import Embeddings, EmbeddingsRequest
from ..services import Collaborators, Services
from ..vectors import as_base64, check_dimensions, rows_of, shortened

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings", response_model=Embeddings)
async def create_embeddings(body: EmbeddingsRequest, http: Request, services: Collaborators, wait: Wait) -> Response:
    """A vector for each text."""
    services.pool.keep(body.model, body.keep_alive)
    return await while_connected(http.receive, _answer(services, body, wait))


async def _answer(services: Services, body: EmbeddingsRequest, wait: float | None) -> Response:
    asked_for(services.registry, body.model)
    async with services.pool.lease(body.model, wait, purpose="vectors") as resident:
        check_dimensions(resident, body.dimensions)
        encoded = await resident.encode(body.inputs, body.truncate_prompt_tokens)
        rows, name = rows_of(resident, encoded), resident.spec.name
        count_texts(services.meter, name, encoded.tokens)
    # Beside the loop: a large answer is two million numbers.
    content = await asyncio.to_thread(_written, shortened(rows, body.dimensions), encoded.tokens, name, body)
    return Response(content, media_type="application/json")


def _written(rows: FloatRows, tokens: list[int], model: str, body: EmbeddingsRequest) -> bytes:
    """The answer as JSON. Not through its schema, which would look at every number."""
    packed = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": as_base64(row) if packed else row.tolist()}
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})
