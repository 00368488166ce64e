"""From numbers to the families of the client library, for whoever exports them."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from .families import Family
from .numbers import ModelNumbers

Models = Mapping[str, ModelNumbers]
Read = Callable[[ModelNumbers], float]


def histogram(family: Family, models: Models, *constant: str) -> Metric:
    """Of each model the distribution that is kept for this family; `constant` are the values of further labels."""
    written = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for model, numbers in models.items():
        kept = numbers.kept[family.name]
        written.add_metric((model, *constant), kept.buckets(), kept.sum)
    return written


def counter(family: Family, models: Models, read: Read, *constant: str) -> Metric:
    written = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for model, numbers in models.items():
        written.add_metric((model, *constant), read(numbers))
    return written


def gauge(family: Family, models: Models, read: Read, *constant: str) -> Metric:
    written = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for model, numbers in models.items():
        written.add_metric((model, *constant), read(numbers))
    return written


def labelled(
    family: Family, models: Models, read: Callable[[ModelNumbers], Mapping[str, int]], *constant: str
) -> Metric:
    """A counter of each model by a last label of its own."""
    written = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for model, numbers in models.items():
        for value, count in read(numbers).items():
            written.add_metric((model, *constant, value), count)
    return written


def single(
    kind: type[CounterMetricFamily | GaugeMetricFamily], family: Family, values: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    """A family whose series are given: by the values of its labels."""
    written = kind(family.name, family.help, labels=family.labels)
    for labels, value in values:
        written.add_metric(labels, value)
    return written
