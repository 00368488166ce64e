"""Traces of requests: one span each, sent to a collector. Needs the extra `otlp`.

A span holds counts, times and names. What was asked and answered is in it only where the settings want it.
"""

import json
from datetime import UTC, datetime

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from .metrics.operation import PROVIDER, Operation

NANO = 1_000_000_000
LONGEST_NAME = 100  # of a model that a client made up


class Tracing:
    """Writes the span of a request when it has ended: then all that it holds is known."""

    def __init__(self, endpoint: str, resource: Resource) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
        self._tracer = self._provider.get_tracer(PROVIDER)
        self._context = TraceContextTextMapPropagator()

    def record(self, operation: Operation) -> None:
        """The span of a request, below the client's own where it sent a `traceparent`."""
        carrier = {} if operation.traceparent is None else {"traceparent": operation.traceparent}
        ended = int(datetime.now(UTC).timestamp() * NANO)
        span = self._tracer.start_span(
            f"{operation.name} {operation.model}",
            self._context.extract(carrier),
            SpanKind.SERVER,
            attributes_of(operation),
            start_time=ended - int(operation.seconds * NANO),
        )
        if operation.failure is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Send what is left. Blocks until the collector has it, or does not answer."""
        self._provider.shutdown()


def attributes_of(operation: Operation) -> dict[str, AttributeValue]:
    """What a span tells of a request."""
    found: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": operation.name,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": operation.asked[:LONGEST_NAME],
        "gen_ai.response.model": operation.model,
        "gen_ai.usage.input_tokens": operation.prompt_tokens,
        "gen_ai.usage.output_tokens": operation.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": operation.cached_tokens,
        "gen_ai.response.finish_reasons": operation.finishes or None,
        "gen_ai.response.time_to_first_chunk": operation.first_token_seconds,
        "http.request.method": operation.method,
        "http.route": operation.route,
        "http.response.status_code": operation.status,
        "error.type": operation.failure,
        "gen_ai.input.messages": _messages("user", operation.prompts),
        "gen_ai.output.messages": _messages("assistant", operation.answers),
    }
    return {name: value for name, value in found.items() if value is not None}


def _messages(role: str, texts: tuple[str, ...]) -> str | None:
    """Texts as the conventions write messages. A prompt is what the model reads, with the marks of its template."""
    if not texts:
        return None
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]} for text in texts])
