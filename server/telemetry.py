"""Where traces and metrics are sent, if the settings name a collector."""

import importlib.util
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import __version__
from .errors import ConfigError
from .settings import Settings

if TYPE_CHECKING:
    from .metrics.operation import Operation

SERVICE = "cupola"


class Telemetry:
    """Sends every request that it is told of. Made only where a collector is named: the libraries are an extra."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.sdk.resources import Resource

        from .metrics.otlp import GenAiMetrics
        from .tracing import Tracing

        resource = Resource.create({"service.name": SERVICE, "service.version": __version__})
        self._sinks = (GenAiMetrics(endpoint.rstrip("/"), resource), Tracing(endpoint.rstrip("/"), resource))

    def record(self, operation: "Operation") -> None:
        for sink in self._sinks:
            sink.record(operation)

    def close(self) -> None:
        """Send what is left; blocks."""
        for sink in self._sinks:
            sink.close()


def open_telemetry(settings: Settings) -> Telemetry | None:
    """None where no collector is named. Raises ConfigError."""
    require_telemetry(settings)
    return None if settings.otlp_endpoint is None else Telemetry(settings.otlp_endpoint)


def require_telemetry(settings: Settings) -> None:
    """Raises ConfigError for a collector that cannot be reached by us: a bad URL, no library, or not allowed."""
    if settings.otlp_endpoint is None:
        return
    url = urlsplit(settings.otlp_endpoint)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ConfigError("CUPOLA_OTLP_ENDPOINT is no address; write it as http://localhost:4318.")
    if settings.offline and not _is_local(url.hostname):
        raise ConfigError("CUPOLA_OFFLINE forbids to send to CUPOLA_OTLP_ENDPOINT; name a collector on this machine.")
    if not _installed():
        raise ConfigError("CUPOLA_OTLP_ENDPOINT needs the extra otlp: pip install 'cupola[otlp]'")


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
