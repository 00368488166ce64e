"""A request in the words of OpenTelemetry's conventions for generative AI, for its metrics and its trace.

The conventions are in development (github.com/open-telemetry/semantic-conventions-genai); names are of September 2026.
"""

from dataclasses import dataclass, field

PROVIDER = "cupola"
# Which operation a route is; those that are none here make no span and no metric of this kind.
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/api/chat": "chat",
    "/api/generate": "text_completion",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One request that has ended. `asked` is the model as the client wrote it, and is no label of a metric.

    `prompts` and `answers` are empty unless the settings want them.
    """

    name: str
    method: str
    route: str
    asked: str
    model: str
    status: int
    error: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    first_token_seconds: float | None
    finishes: tuple[str, ...] = ()
    traceparent: str | None = None
    prompts: tuple[str, ...] = ()
    answers: tuple[str, ...] = field(default=())

    @property
    def failure(self) -> str | None:
        """What the conventions call `error.type`: our code, or the status where there is none."""
        if self.error is not None:
            return self.error
        return str(self.status) if self.status >= 400 else None

    @property
    def seconds_per_token(self) -> float | None:
        """Of the tokens after the first."""
        if self.first_token_seconds is None or self.completion_tokens < 2:
            return None
        return (self.seconds - self.first_token_seconds) / (self.completion_tokens - 1)
