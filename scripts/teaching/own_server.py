"""Our own server as the teacher, for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converters.serving import serving


@contextmanager
def own_server(model: str, home: Path) -> Iterator[str]:
    """The address of a server with the model. Raises CupolaError when it does not start, which says why."""
    with serving(f"The teacher {model}", home, model) as server:
        yield server.api
