"""Everything that is exported at a scrape, as families of the client library, on a registry of its own."""

import asyncio
from collections.abc import Callable, Iterator
from operator import attrgetter

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from .. import __version__
from . import families as own
from .dialects import vllm
from .dialects.llamacpp import LlamaCpp
from .energy import Energy
from .meter import Meter, Requests
from .picture import LoadedModel, Picture
from .writing import Models, counter, gauge, histogram, labelled, single

OPENMETRICS = "application/openmetrics-text"
SERVER = "server"  # the process that is no model's


class Exported(Collector):
    """The meter's numbers and the picture of the moment, under every name that they have."""

    def __init__(self, meter: Meter, draw: Callable[[], Picture], energy: Energy) -> None:
        self._meter = meter
        self._draw = draw
        self._energy = energy
        self._llamacpp = LlamaCpp()

    def collect(self) -> Iterator[Metric]:
        picture = self._draw()
        self._energy.sample(picture)
        self._meter.look(picture.models)
        models = self._meter.models
        yield from _requests(self._meter.requests)
        yield from _of_models(models)
        yield from _memory(picture)
        yield from _identities(picture, models)
        yield from self._energy.write(models)
        yield from vllm.write(models)
        yield from self._llamacpp.write(models)


class Exposition:
    """What a scrape is answered with."""

    def __init__(self, meter: Meter, draw: Callable[[], Picture], energy: Energy) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Exported(meter, draw, energy))

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that the client takes, OpenMetrics or Prometheus' own, and its media type.

        Beside the loop: to write those of three models takes some 20 ms, in which no stream would move.
        """
        collected = _Collected([*self._registry.collect()])
        _, media_type = choose_encoder(accept)
        if not media_type.startswith(OPENMETRICS):
            return await asyncio.to_thread(generate_latest, collected), CONTENT_TYPE_PLAIN_0_0_4
        # The library's default takes the colon of a sample's name for a character to be replaced. No name of ours needs
        # escaping, so without it the text is plain OpenMetrics.
        write: Callable[..., bytes] = openmetrics.generate_latest
        text = await asyncio.to_thread(write, collected, escaping=openmetrics.ALLOWUTF8, version="1.0.0")
        return text, f"{OPENMETRICS}; version=1.0.0; charset=utf-8"


class _Collected(Collector):
    """Families that were collected before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _requests(requests: Requests) -> Iterator[Metric]:
    yield single(CounterMetricFamily, own.REQUESTS, requests.count.items())
    yield single(CounterMetricFamily, own.REJECTED, [((reason,), count) for reason, count in requests.rejected.items()])
    family = own.REQUEST_SECONDS
    seconds = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, kept in requests.seconds.items():
        seconds.add_metric(labels, kept.buckets(), kept.sum)
    yield seconds


def _of_models(models: Models) -> Iterator[Metric]:
    for field, family in own.COUNTERS.items():
        yield counter(family, models, attrgetter(field))
    for field, family in own.LABELLED.items():
        yield labelled(family, models, attrgetter(field))
    for family in own.HISTOGRAMS.values():
        yield histogram(family, models)
    yield gauge(own.RUNNING, models, attrgetter("running"))
    yield gauge(own.WAITING, models, attrgetter("waiting"))
    yield gauge(own.KV_USED, models, attrgetter("kv_ratio"))


def _memory(picture: Picture) -> Iterator[Metric]:
    kinds: tuple[tuple[str, Callable[[LoadedModel], int | None]], ...] = (
        ("rss", attrgetter("rss")),
        ("kv", attrgetter("kv")),
        ("weights", attrgetter("weights")),
    )
    taken: dict[tuple[str, ...], float] = {}
    for one in picture.models:
        for kind, read in kinds:
            size = read(one)
            if size is not None:  # two variants of a model may be loaded at a time
                taken[one.model, kind] = taken.get((one.model, kind), 0.0) + size
    yield single(GaugeMetricFamily, own.MEMORY, taken.items())
    yield single(GaugeMetricFamily, own.BUDGET, [] if picture.budget is None else [((), picture.budget)])
    yield single(GaugeMetricFamily, own.SERVER_MEMORY, [((), picture.server_rss)])
    spent: dict[tuple[str, ...], float] = {(SERVER,): picture.server_cpu_seconds}
    for one in picture.models:
        if one.cpu_seconds is not None:
            spent[(one.model,)] = spent.get((one.model,), 0.0) + one.cpu_seconds
    yield single(CounterMetricFamily, own.CPU, spent.items())


def _identities(picture: Picture, models: Models) -> Iterator[Metric]:
    ready = [one for one in picture.models if one.ready]
    here = {one.model for one in ready}
    yield single(
        GaugeMetricFamily,
        own.INFO,
        [((o.model, o.version, o.variant, o.engine, o.quantization, o.device), 1.0) for o in ready],
    )
    yield single(GaugeMetricFamily, own.LOADED, [((model,), float(model in here)) for model in models])
    yield single(GaugeMetricFamily, own.BUILD, [((__version__,), 1.0)])
