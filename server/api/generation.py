"""From a wire request to a delta stream: the one path that every generating endpoint takes."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import Depends, Header
from msgspec.structs import replace

from .. import __version__
from ..errors import InvalidValue
from ..models.names import ModelName
from ..models.spec import Variant
from ..pool.resident import Resident
from ..types import Delta, Request
from . import access_log
from .accounting import Tally, asked_for
from .company import generate_all
from .services import Services

Prepare = Callable[[Resident], Awaitable[Request]]
PrepareAll = Callable[[Resident], Awaitable[list[Request]]]


@dataclass(slots=True)
class Stamp:
    """What every event of one answer carries. The fingerprint changes once, if another variant than the best serves."""

    id: str
    created: int
    model: str
    fingerprint: str

    @classmethod
    def new(cls, prefix: str, services: Services, name: str) -> Self:
        """A stamp with a fresh id. Raises ModelNotFound and ModelNotPulled."""
        asked_for(services.registry, name)
        spec, variant = services.pool.find(name)
        adapter = ModelName.parse(name).adapter
        return cls(
            id=f"{prefix}-{secrets.token_hex(12)}",
            created=int(datetime.now(UTC).timestamp()),
            model=spec.name if adapter is None else f"{spec.name}+{adapter}",
            fingerprint=_fingerprint(variant),
        )

    @property
    def fields(self) -> dict[str, Any]:
        """The same by the names that OpenAI gives them."""
        return {"id": self.id, "created": self.created, "model": self.model, "system_fingerprint": self.fingerprint}

    def served_by(self, variant: Variant) -> None:
        """Say which variant answers, before the first event is written."""
        self.fingerprint = _fingerprint(variant)


def _fingerprint(variant: Variant) -> str:
    return f"cupola-{__version__}-{variant.name}"


def deltas(services: Services, name: str, wait: float | None, prepare: Prepare) -> AsyncGenerator[Delta]:
    """Load the model if need be, and generate what `prepare` makes of it.

    The model is in use until the last delta is there, and not until a slow reader has taken it.
    """

    async def prepare_one(resident: Resident) -> list[Request]:
        return [await prepare(resident)]

    return batch(services, name, wait, prepare_one)


async def batch(services: Services, name: str, wait: float | None, prepare: PrepareAll) -> AsyncGenerator[Delta]:
    """The same for several requests at a time. Continuations are numbered through, those of the first request first."""
    last: Delta | None = None
    async with services.pool.lease(name, wait) as resident:
        adapter = await services.pool.adapters.named(name, resident)
        requests = [replace(request, adapter=adapter) for request in await prepare(resident)]
        for request in requests:
            access_log.write_prompt(request, services.settings)
        tally = Tally(services.meter, resident.spec.name, requests, keeps_texts=services.settings.otlp_prompts)
        async with aclosing(generate_all(resident, requests)) as stream:
            async for delta in stream:
                tally.add(delta)
                if last is not None:
                    yield last
                    last = None
                if delta.finish:
                    last = delta
                else:
                    yield delta
    if last is not None:
        yield last


def _allowed_wait(prefer: Annotated[str | None, Header()] = None) -> float | None:
    """Seconds of `Prefer: wait=SECONDS` (RFC 7240); None where the client does not say. Others are ignored."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait":
            try:
                seconds = float(value.strip().strip('"'))
            except ValueError:
                seconds = -1.0
            if not 0 <= seconds <= 86_400:
                raise InvalidValue(f"Prefer: wait={value.strip()[:40]} is not a number of seconds.", param="Prefer")
            return seconds
    return None


Wait = Annotated[float | None, Depends(_allowed_wait)]
