"""What the server and a worker say to each other. One message a step carries everything that the step brought."""

from msgspec import Struct

from ..runners.base import EncoderInfo, Placement, RunnerInfo
from ..types import Delta, Request

WHOLE = -1  # of `Encode.limit`: as much as the model takes


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


class Tokenise(Struct, tag=True, frozen=True):
    """Token ids of a text. `leading`: with the token that the model puts first; `pieces`: with the bytes of each."""

    id: str
    text: str
    special: bool = True
    leading: bool = True
    pieces: bool = False


class Detokenise(Struct, tag=True, frozen=True):
    """The text of token ids; control tokens have none."""

    id: str
    tokens: list[int]


class Encode(Struct, tag=True, frozen=True):
    """Vectors of texts or token ids. `limit`: cut to so many tokens, -1 to as many as the model takes; None: refuse.

    `ranking`: the first input is a query and the others are documents, which errors call by those names.
    """

    id: str
    inputs: list[str | list[int]]
    limit: int | None = None
    ranking: bool = False

    def name(self, place: int) -> tuple[str, str]:
        """What the client calls an input, and the field that it stands in."""
        if not self.ranking:
            return f"input[{place}]", "input"
        return (f"documents[{place - 1}]", "documents") if place else ("query", "query")


class ReleaseCache(Struct, tag=True, frozen=True):
    """Give the KV memory back, unless a request has come meanwhile."""


class SetSpin(Struct, tag=True, frozen=True):
    """Whether idle threads of the engine burn their core from now on."""

    spin: bool


ToWorker = Load | Submit | Cancel | Tokenise | Detokenise | Encode | ReleaseCache | SetSpin


class Loading(Struct, tag=True, frozen=True):
    """How far a load is, 0 to 1."""

    fraction: float


class Ready(Struct, tag=True, frozen=True):
    """The model is loaded. The chat template travels to the render process, never to an engine."""

    info: RunnerInfo | EncoderInfo
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
    """The results of one step by request id, what the step was, and how things stand behind it.

    `sequences`: how many shared the step. `kv_used`: tokens of the running sequences that have KV entries, of the
    `kv_capacity` that there is room for.
    """

    deltas: dict[str, Delta] = {}  # by sequence id: a request may have several
    failures: dict[str, Failure] = {}
    decode_tokens: int = 0
    prefill_tokens: int = 0
    seconds: float = 0.0
    sequences: int = 0
    running: int = 0
    waiting: int = 0
    kv_used: int = 0
    kv_capacity: int = 0


class Tokens(Struct, tag=True, frozen=True):
    id: str
    tokens: list[int]
    pieces: list[bytes]


class Text(Struct, tag=True, frozen=True):
    id: str
    text: str


class TokensRefused(Struct, tag=True, frozen=True):
    """Text that the tokenizer cannot read, or ids that it does not have."""

    id: str
    message: str


class Encoded(Struct, tag=True, frozen=True):
    """`vectors`: float32 of this machine's byte order, [len(tokens), dimension]. `tokens`: how many each input had."""

    id: str
    tokens: list[int]
    vectors: bytes


class EncodeFailed(Struct, tag=True, frozen=True):
    id: str
    failure: Failure


FromWorker = Loading | Ready | LoadError | StepDone | Tokens | Text | TokensRefused | Encoded | EncodeFailed
