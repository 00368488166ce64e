"""`python -m server.hardware.nvml [LIBRARY]`: what NVIDIA's management library says, in the words of nvidia-smi.

A process of its own, since a call into a driver that hangs does not return. Without a library or a driver it ends with
status 1. API: NVIDIA, "NVML API Reference Guide" (nvmlInit_v2, nvmlDeviceGetMemoryInfo, ...).
"""

import ctypes
import sys

HEADER = "name, memory.total [MiB], memory.free [MiB], driver_version"
LIBRARIES = ("nvml.dll",) if sys.platform == "win32" else ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1")
SUCCESS = 0
TEXT_BYTES = 96


class MemoryInfo(ctypes.Structure):
    """nvmlMemory_t; bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def load(names: tuple[str, ...]) -> ctypes.CDLL | None:
    """The first of these libraries that loads and starts."""
    for name in names:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if library.nvmlInit_v2() == SUCCESS:
            return library
    return None


def describe(library: ctypes.CDLL) -> list[str]:
    """A line for each GPU. A call that the driver refuses leaves its field as nvidia-smi does: [N/A]."""
    driver = ctypes.create_string_buffer(TEXT_BYTES)
    library.nvmlSystemGetDriverVersion(driver, TEXT_BYTES)
    count = ctypes.c_uint(0)
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return [_line(library, index, driver.value.decode()) for index in range(count.value)]


def _line(library: ctypes.CDLL, index: int, driver: str) -> str:
    handle, name, memory = ctypes.c_void_p(), ctypes.create_string_buffer(TEXT_BYTES), MemoryInfo()
    library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    library.nvmlDeviceGetName(handle, name, TEXT_BYTES)
    known = library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == SUCCESS
    sizes = [f"{size >> 20} MiB" if known else "[N/A]" for size in (memory.total, memory.free)]
    return ", ".join([name.value.decode(), *sizes, driver])


def main() -> int:
    library = load(tuple(sys.argv[1:]) or LIBRARIES)
    if library is None:
        return 1
    sys.stdout.write("\n".join([HEADER, *describe(library)]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
