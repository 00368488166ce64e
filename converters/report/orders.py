"""What a probe is told and what it answers: one line of JSON each."""

import msgspec

from server.models.quality import Quality


class Subject(msgspec.Struct, frozen=True):
    """An artifact: what it is called here, and the engines that may load it, the usual one first."""

    label: str
    path: str
    engines: tuple[str, ...]
    device: str
    size: int


class ReferenceOrder(msgspec.Struct, frozen=True, tag="reference"):
    """Write the logits of all positions of a text, float32, one after the other, to the file `rows`."""

    subject: Subject
    text: str
    most: int  # positions
    rows: str
    threads: int


class ArtifactOrder(msgspec.Struct, frozen=True, tag="artifact"):
    """Measure an artifact against what a reference wrote to `rows` about `sequences`."""

    subject: Subject
    text: str
    reference: str
    sequences: list[list[int]]
    vocabulary: int
    rows: str
    threads: int


class Truth(msgspec.Struct, frozen=True, tag="truth"):
    """What a reference was, and the text in its tokens."""

    name: str
    sequences: list[list[int]]
    vocabulary: int
    perplexity: float


class Agreement(msgspec.Struct, frozen=True):
    """A `Quality` without its reference's name."""

    kl_mean: float
    kl_p99: float
    top1: float
    positions: int

    def quality(self, reference: str) -> Quality:
        return Quality(**msgspec.structs.asdict(self), reference=reference)


class Found(msgspec.Struct, frozen=True, tag="found"):
    """What is measured of an artifact: see `figures.Row`."""

    engine: str
    perplexity: float
    agreement: Agreement | None
    memory: int
    load_seconds: float
    prefill: dict[int, float]
    decode: dict[int, float]
    notes: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why nothing was measured, in a sentence."""

    message: str


Order = ReferenceOrder | ArtifactOrder
Answer = Truth | Found | Refused
