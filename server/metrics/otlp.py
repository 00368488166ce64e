"""OpenTelemetry's metrics of generative AI, sent to a collector. Needs the extra `otlp`."""

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from .operation import PROVIDER, Operation

SEND_SECONDS = 15

# Edges as the conventions advise them.
DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
EACH_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = tuple(4**power for power in range(14))


class GenAiMetrics:
    """The instruments, and the thread that sends them."""

    def __init__(self, endpoint: str, resource: Resource) -> None:
        exporter = OTLPMetricExporter(f"{endpoint}/v1/metrics")
        reader = PeriodicExportingMetricReader(exporter, SEND_SECONDS * 1000)
        self._provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter(PROVIDER)
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration", "s", explicit_bucket_boundaries_advisory=DURATION
        )
        self._first = meter.create_histogram(
            "gen_ai.server.time_to_first_token", "s", explicit_bucket_boundaries_advisory=FIRST_TOKEN
        )
        self._each = meter.create_histogram(
            "gen_ai.server.time_per_output_token", "s", explicit_bucket_boundaries_advisory=EACH_TOKEN
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", explicit_bucket_boundaries_advisory=TOKENS
        )

    def record(self, operation: Operation) -> None:
        """Count a request that has ended."""
        labels = {
            "gen_ai.operation.name": operation.name,
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": operation.model,
            "gen_ai.response.model": operation.model,
        }
        failure = {} if operation.failure is None else {"error.type": operation.failure}
        self._duration.record(operation.seconds, labels | failure)
        if operation.first_token_seconds is not None:
            self._first.record(operation.first_token_seconds, labels)
        if operation.seconds_per_token is not None:
            self._each.record(operation.seconds_per_token, labels)
        for kind, tokens in (("input", operation.prompt_tokens), ("output", operation.completion_tokens)):
            if tokens:
                self._tokens.record(tokens, labels | {"gen_ai.token.type": kind})

    def close(self) -> None:
        """Send what is left. Blocks until the collector has it, or does not answer."""
        self._provider.shutdown()
