"""POST /v1/rerank, in the shape of Jina and Cohere."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .common import Text
from .embeddings import MOST_INPUTS, EmbeddingsUsage, Limit, ModelName

NonEmpty = Annotated[Text, StringConstraints(min_length=1)]


class Document(BaseModel):
    text: NonEmpty


class RerankRequest(BaseModel):
    """A question, and texts to be sorted by how much they have to do with it. Unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        json_schema_extra={
            "examples": [{"model": "minilm", "query": "What melts iron?", "documents": ["A furnace.", "A fridge."]}]
        },
    )

    model: ModelName
    query: NonEmpty
    documents: Annotated[list[NonEmpty | Document], Field(min_length=1, max_length=MOST_INPUTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    """How many results; all without it."""
    return_documents: bool = True
    truncate_prompt_tokens: Limit | None = None
    """As for embeddings."""
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        return [document if isinstance(document, str) else document.text for document in self.documents]


class RerankResult(BaseModel):
    """`index` is the place in the request; `relevance_score` is the cosine of the two vectors, -1 to 1."""

    index: int
    relevance_score: float
    document: Document | None = None


class Reranked(BaseModel):
    """Results, the most relevant first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: EmbeddingsUsage
