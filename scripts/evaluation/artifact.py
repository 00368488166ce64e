"""A server of our own for one artifact, in a home that is gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from converters.report.artifacts import Finder
from converters.report.orders import Subject
from converters.serving import serving_artifact
from server.settings import load_settings


def find(target: str) -> Subject:
    """Raises what Finder does."""
    return Finder(load_settings()).subject(target)


@contextmanager
def serving(subject: Subject, startup: float) -> Iterator[tuple[str, int]]:
    """URL#MODEL and the server's process. It has no system message and no sampling of its own. Raises CupolaError."""
    with serving_artifact(subject.label, subject.path, startup=startup) as (server, model):
        yield f"{server.api}#{model}", server.pid
