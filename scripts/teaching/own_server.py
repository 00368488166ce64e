"""Our own server as the teacher, for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converters.serving import serving
from server.api.keys import new_secret


@contextmanager
def own_server(model: str, home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a server with the model, and the headers it wants: the home may have keys, so it gets its own.

    Raises CupolaError when it does not start, which says why.
    """
    key = new_secret()
    with serving(f"The teacher {model}", home, model, api_key=key) as server:
        yield server.api, {"Authorization": f"Bearer {key}"}
