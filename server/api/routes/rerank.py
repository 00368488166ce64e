"""POST /v1/rerank. Query and documents are embedded apart, and the score is the cosine of their vectors."""

import secrets

from fastapi import APIRouter, Request

from ..accounting import asked_for, count_texts
from ..cancel import while_connected
from ..generation import Wait
from ..schemas.embeddings import EmbeddingsUsage
from ..schemas.rerank import Document, Reranked, RerankRequest, RerankResult
from ..services import Collaborators, Services
from ..vectors import rows_of, unit

router = APIRouter(tags=["embeddings"])


@router.post("/v1/rerank", response_model_exclude_none=True)
async def rerank(body: RerankRequest, http: Request, services: Collaborators, wait: Wait) -> Reranked:
    """Documents sorted by how much they have to do with a query."""
    return await while_connected(http.receive, _answer(services, body, wait))


async def _answer(services: Services, body: RerankRequest, wait: float | None) -> Reranked:
    texts = body.texts
    asked_for(services.registry, body.model)
    async with services.pool.lease(body.model, wait, purpose="vectors") as resident:
        encoded = await resident.encode([body.query, *texts], body.truncate_prompt_tokens, ranking=True)
        rows = unit(rows_of(resident, encoded))
        count_texts(services.meter, resident.spec.name, encoded.tokens)
    scores = rows[1:] @ rows[0]
    best = (-scores).argsort(kind="stable")[: body.top_n]
    results = [
        RerankResult(
            index=int(place),
            relevance_score=float(scores[place]),
            document=Document(text=texts[place]) if body.return_documents else None,
        )
        for place in best
    ]
    total = sum(encoded.tokens)
    return Reranked(
        id=f"rerank-{secrets.token_hex(12)}",
        model=resident.spec.name,
        results=results,
        usage=EmbeddingsUsage(prompt_tokens=total, total_tokens=total),
    )
