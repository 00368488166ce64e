"""The cores that this process may really use: physical ones, within the affinity mask and the cgroup's quota."""

import os
import sys
from pathlib import Path

import psutil

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2, as seen from inside the group


def parse_quota(text: str) -> float | None:
    """Cores that a `cpu.max` file grants: "200000 100000" is 2.0; "max 100000" is no limit (None).

    Format: Linux kernel documentation, Control Group v2, "cpu.max".
    """
    fields = text.split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return int(fields[0]) / int(fields[1])


def usable_cores() -> int:
    """Physical cores for an engine's threads; at least one."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if sys.platform == "linux":
        cores = min(cores, len(os.sched_getaffinity(0)))
    quota = parse_quota(CGROUP_QUOTA.read_text()) if CGROUP_QUOTA.is_file() else None
    return max(1, min(cores, int(quota))) if quota else max(1, cores)
