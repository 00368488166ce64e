"""Joules of NVIDIA GPUs, where `nvidia-ml-py` is installed and a driver answers."""

import importlib
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

MILLI = 1e-3


class Gpus:
    """The counters of all GPUs that have one (Volta and later), from the moment they are opened."""

    def __init__(self) -> None:
        self._library = _opened()
        self._handles: dict[str, Any] = {}
        self._first: dict[str, float] = {}
        library = self._library
        if library is None:
            return
        try:
            for index in range(library.nvmlDeviceGetCount()):
                self._handles[f"gpu-{index}"] = library.nvmlDeviceGetHandleByIndex(index)
        except library.NVMLError as error:  # one that fell off the bus must not keep the server from starting
            log.info("energy of GPU %d and later ones is not measured: %s", len(self._handles), error)

    def read(self) -> Mapping[str, float]:
        """Joules by GPU."""
        library = self._library
        if library is None:
            return {}
        found: dict[str, float] = {}
        for name, handle in list(self._handles.items()):
            try:
                joules = library.nvmlDeviceGetTotalEnergyConsumption(handle) * MILLI
            except library.NVMLError as error:
                log.info("energy of %s is not measured: %s", name, error)
                del self._handles[name]
            else:
                found[name] = joules - self._first.setdefault(name, joules)
        return found


def _opened() -> ModuleType | None:
    """The library, if it is installed and finds a driver."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        log.debug("no energy of GPUs: %s", error)
        return None
    return library
