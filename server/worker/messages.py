"""What the server and a worker say to each other. One message a step carries everything that the step brought."""

from msgspec import Struct

from ..runners.base import Placement, RunnerInfo
from ..types import Delta, Request


class Load(Struct, tag=True, frozen=True):
    """First message to a worker: the model it lives for."""

    backend: str
    artifact: str | None
    placement: Placement
    prefill_seconds: float


class Submit(Struct, tag=True, frozen=True):
    request: Request


class Cancel(Struct, tag=True, frozen=True):
    request_id: str


ToWorker = Load | Submit | Cancel


class Loading(Struct, tag=True, frozen=True):
    """How far a load is, 0 to 1."""

    fraction: float


class Ready(Struct, tag=True, frozen=True):
    """The model is loaded. The chat template travels to the render process, never to an engine."""

    info: RunnerInfo
    bos_token: str
    eos_token: str
    chat_template: str | None


class Failure(Struct, frozen=True):
    """An error of one request, or of the load; the server rebuilds it by `code`."""

    code: str
    message: str
    param: str | None = None


class LoadError(Struct, tag=True, frozen=True):
    failure: Failure


class StepDone(Struct, tag=True, frozen=True, omit_defaults=True):
    """The results of one step by request id, and what the step was."""

    deltas: dict[str, Delta] = {}
    failures: dict[str, Failure] = {}
    decode_tokens: int = 0
    prefill_tokens: int = 0
    seconds: float = 0.0
    waiting: int = 0


FromWorker = Loading | Ready | LoadError | StepDone
