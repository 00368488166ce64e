"""The pool as metrics see it at one moment. Nothing is loaded or woken for it."""

import psutil

from ..metrics.picture import LoadedModel, Picture
from ..models.names import CURRENT_VERSION
from ..pool.pool import Pool
from ..pool.resident import Resident
from ..runners.base import RunnerInfo


def draw(pool: Pool) -> Picture:
    """Sizes and processor times of the server and its workers, now."""
    own = psutil.Process()
    return Picture(
        [_loaded(resident) for resident in pool.residents],
        own.memory_info().rss,
        _seconds(own),
        pool.budget.limit,
    )


def _loaded(resident: Resident) -> LoadedModel:
    rss, seconds = _process(resident.pid)
    variant, ready = resident.variant, resident.loaded
    manifest = resident.choice.candidate.manifest
    return LoadedModel(
        model=resident.spec.name,
        variant=variant.name,
        version=CURRENT_VERSION,
        engine=variant.backend,
        quantization=variant.quantization,
        device=resident.choice.device or "cpu",
        loading=resident.state == "loading",
        ready=ready,
        users=resident.users,
        encodes=ready and resident.dimension is not None,
        rss=rss,
        kv=_kv_bytes(resident) if ready and not resident.asleep else 0,
        weights=manifest.size if manifest is not None else None,
        cpu_seconds=seconds,
    )


def _kv_bytes(resident: Resident) -> int:
    info = resident.ready.info
    if not isinstance(info, RunnerInfo):
        return 0
    tokens = info.slots * info.context_length if info.cache_tokens is None else info.cache_tokens
    return tokens * info.cache_bytes_per_token


def _process(pid: int | None) -> tuple[int | None, float | None]:
    """Resident bytes and processor seconds; None of a process that has just ended."""
    if pid is None:
        return None, None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return process.memory_info().rss, _seconds(process)
    except psutil.Error:
        return None, None


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
