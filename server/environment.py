"""Variables that are no setting of ours: what our children get, and what a service manager says to us."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

# What a child process may see of our environment: enough to find libraries and a temporary folder, and no secret.
CHILD_VARIABLES = frozenset(
    "PATH HOME LANG LC_ALL LC_CTYPE TZ TMPDIR TMP TEMP SYSTEMROOT USERPROFILE LOCALAPPDATA VIRTUAL_ENV PYTHONPATH"
    " PYTHONHOME LD_LIBRARY_PATH DYLD_LIBRARY_PATH CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES OMP_NUM_THREADS"
    " OMP_WAIT_POLICY OMP_PROC_BIND OMP_PLACES GOMP_SPINCOUNT".split()
)

# ONNX Runtime and GenAI report to Microsoft unless this says not to, on Linux too. Nothing here calls anybody unasked.
QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
FOR_CHILDREN = QUIET | {"GGML_NO_BACKTRACE": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def child_environment() -> dict[str, str]:
    """The environment of a child process: no token, no key; no crash handler that prints arguments."""
    inherited = {name: value for name, value in os.environ.items() if name in CHILD_VARIABLES}  # noqa: TID251
    return inherited | FOR_CHILDREN


def full_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with changes, for another server."""
    return {**os.environ, **changes}  # noqa: TID251


def tool_environment() -> dict[str, str]:
    """The environment of a program that uses the network as the user set it up, like pip. No setting, no token."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CUPOLA_", "HF_"))}  # noqa: TID251


def forbid_telemetry() -> None:
    """For a program that imports engines itself and was not started by us."""
    os.environ.update(QUIET)  # noqa: TID251


@dataclass(frozen=True, slots=True)
class Supervision:
    """How a service manager wants to hear of us. No address: nobody asked."""

    address: str = ""
    watchdog_seconds: float = 0.0  # it ends a process that is silent for so long; 0: it does not


def supervision() -> Supervision:
    """What systemd says to a service of Type=notify, sd_notify(3) and sd_watchdog_enabled(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251
    period = os.environ.get("WATCHDOG_USEC", "")  # noqa: TID251
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())  # noqa: TID251
    return Supervision(address, int(period) / 1e6 if ours and period.isascii() and period.isdigit() else 0.0)
