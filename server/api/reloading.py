"""models.yaml, read again while the server runs: nothing that is being answered is dropped."""

import asyncio
import logging

from ..errors import ConfigError, InvalidValue
from ..models.registry import Changes, Registry
from ..pool.pool import Pool
from ..settings import Settings

log = logging.getLogger(__name__)


async def reload(settings: Settings, registry: Registry, pool: Pool) -> Changes:
    """Follow the files as they are now. Raises InvalidValue for one that is wrong; then all stays as it was."""
    try:
        newer = await asyncio.to_thread(Registry.load, settings.overlay)
    except ConfigError as error:
        raise InvalidValue(f"Nothing was changed: {error.message}") from None
    changes = registry.follow(newer)
    pool.follow({name: registry.model(name) for name in changes.changed} | dict.fromkeys(changes.removed))
    log.info(
        "models.yaml was read again: added %s, changed %s, removed %s",
        *(", ".join(names) or "none" for names in changes),
    )
    return changes


async def reload_on_signal(settings: Settings, registry: Registry, pool: Pool) -> None:
    """The same for a signal, which has nobody to tell but the log."""
    try:
        await reload(settings, registry, pool)
    except InvalidValue as error:
        log.warning("%s", error.message)
