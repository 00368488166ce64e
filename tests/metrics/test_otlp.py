"""Metrics and traces over OTLP, as a collector gets them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from server.errors import ConfigError
from server.settings import Settings
from server.telemetry import require_telemetry

from ..serving import RunningServer, add_fake_model, pull, running_server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "The secret word is Rumpelstiltskin."


class Collector:
    """What was sent, decoded."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, list[Any]] = {}
        self.bodies: list[bytes] = []

    def take(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        self.metrics[metric.name] = list(metric.histogram.data_points)  # cumulative: the last counts


@contextmanager
def collecting() -> Iterator[tuple[str, Collector]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", collector
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def attributes(point: Any) -> dict[str, Any]:
    def value(found: Any) -> Any:
        kind = found.WhichOneof("value")
        inner = getattr(found, kind)
        return [value(one) for one in inner.values] if kind == "array_value" else inner

    return {one.key: value(one.value) for one in point.attributes}


def ask(server: RunningServer, model: str = "talker", headers: dict[str, str] | None = None) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": SECRET}], "max_tokens": 5, "ignore_eos": True}
    with server.client() as http:
        answer: dict[str, Any] = http.post("/v1/chat/completions", json=body, headers=headers).json()
    return answer


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    add_fake_model(home, "talker", {"temperature": 0})
    pull(home, "talker")
    return home


def test_a_request_is_a_span_and_counts_in_the_metrics(home: Path) -> None:
    with collecting() as (endpoint, collector):
        with running_server(home, otlp_endpoint=endpoint) as server:
            usage = ask(server, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})["usage"]
            ask(server, "no-such-model")
            with server.client() as http:
                http.get("/health")
        good, bad = sorted(collector.spans, key=lambda span: int(span.status.code))
    assert (good.trace_id.hex(), good.parent_span_id.hex()) == (TRACE, PARENT)
    assert good.name == "chat talker"
    found = attributes(good)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == "talker"
    assert found["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert found["gen_ai.usage.output_tokens"] == usage["completion_tokens"] == 5
    assert found["gen_ai.response.finish_reasons"] == ["length"]
    seconds = (good.end_time_unix_nano - good.start_time_unix_nano) / 1e9
    assert 0 < found["gen_ai.response.time_to_first_chunk"] <= seconds
    assert attributes(bad)["error.type"] == "model_not_found"
    assert attributes(bad)["gen_ai.response.model"] == "unknown"
    assert all(b"Rumpelstiltskin" not in body for body in collector.bodies)
    check_metrics(collector, usage)


def check_metrics(collector: Collector, usage: dict[str, int]) -> None:
    duration = collector.metrics["gen_ai.server.request.duration"]
    by_error = {attributes(point).get("error.type"): point for point in duration}
    assert {error: point.count for error, point in by_error.items()} == {None: 1, "model_not_found": 1}
    assert list(by_error[None].explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    (first,) = collector.metrics["gen_ai.server.time_to_first_token"]
    assert list(first.explicit_bounds)[:3] == [0.001, 0.005, 0.01]
    (each,) = collector.metrics["gen_ai.server.time_per_output_token"]
    assert first.count == each.count == 1
    tokens = {
        attributes(point)["gen_ai.token.type"]: point.sum for point in collector.metrics["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": usage["prompt_tokens"], "output": 5}


def test_prompts_are_in_spans_if_they_are_asked_for(home: Path) -> None:
    with collecting() as (endpoint, collector):
        with running_server(home, otlp_endpoint=endpoint, otlp_prompts="true") as server:
            answer = ask(server)["choices"][0]["message"]["content"]
        (span,) = collector.spans
    found = attributes(span)
    assert SECRET in json.loads(found["gen_ai.input.messages"])[0]["parts"][0]["content"]
    assert json.loads(found["gen_ai.output.messages"])[0]["parts"][0]["content"] == answer


@pytest.mark.parametrize(
    ("endpoint", "offline", "wrong"),
    [
        ("localhost:4318", False, "no address"),
        ("http://collector.example:4318", True, "CUPOLA_OFFLINE"),
    ],
)
def test_a_collector_that_cannot_be_used_stops_the_start(endpoint: str, offline: bool, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        require_telemetry(Settings(otlp_endpoint=endpoint, offline=offline))


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"cupola\[otlp\]"):
        require_telemetry(Settings(otlp_endpoint="http://localhost:4318"))
    require_telemetry(Settings())
