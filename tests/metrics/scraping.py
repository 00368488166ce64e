"""What tests of metrics share: a scrape, read by the client library's own parser."""

from dataclasses import dataclass

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ..serving import RunningServer


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one scrape."""

    families: dict[str, Metric]
    samples: list[Sample]

    @classmethod
    def of(cls, text: str) -> "Scrape":
        families = list(text_string_to_metric_families(text))
        assert len({family.name for family in families}) == len(families), "a family twice"
        return cls({family.name: family for family in families}, [one for family in families for one in family.samples])

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 where there is none."""
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())

    def labels(self, name: str) -> list[dict[str, str]]:
        return [one.labels for one in self.samples if one.name == name]

    def buckets(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """Upper edge and cumulative count."""
        found = [
            (float(one.labels["le"]), one.value)
            for one in self.samples
            if one.name == f"{name}_bucket" and labels.items() <= one.labels.items()
        ]
        return sorted(found)


def scrape(server: RunningServer) -> Scrape:
    with server.client() as http:
        answer = http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Scrape.of(answer.text)
