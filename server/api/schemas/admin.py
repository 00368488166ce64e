"""What the operator asks of a running server, and what it tells him."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from .common import KeepAlive, Text

Name = Annotated[Text, StringConstraints(min_length=1, max_length=512)]


class LoadRequest(BaseModel):
    """`keep_alive`: seconds after its last use at which it is unloaded, or like "10m"; -1: never."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: Name
    keep_alive: KeepAlive | None = None


class UnloadRequest(BaseModel):
    """`force`: also while it answers; its requests fail then."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: Name
    force: bool = False


class Unloaded(BaseModel):
    """`unloaded`: whether it was loaded. Its memory is back."""

    model: str
    unloaded: bool


class Reloaded(BaseModel):
    """Names of models, by what a changed models.yaml says of them."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class ResidentBody(BaseModel):
    """A model in the pool. Bytes of main memory: what its worker holds, and what is promised to it.

    `state` is loading, loaded, asleep (its KV memory was given back), unloading or dead. `queue` are requests beyond
    those that have a slot. `unload_in` are seconds, null while it is in use, pinned, or kept for ever.
    """

    id: str
    state: str
    progress: float
    users: int
    queue: int
    pid: int | None
    memory: int | None
    promised: int
    pinned: bool
    spins: bool
    idle_seconds: float
    load_seconds: float
    unload_in: float | None


class ResidentList(BaseModel):
    """`budget` and `taken` are bytes of main memory: what all processes of the server may take together, and do."""

    models: list[ResidentBody]
    budget: int
    taken: int
