"""Memory: what the system has and what control groups leave of it."""

from pathlib import Path

import psutil
import pytest

from server.hardware.cgroup import folders, parse_groups, parse_mounts
from server.hardware.memory import parse_reclaimable, parse_size, read, usable_bytes

from .trees import plant

MIB = 1 << 20
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
UNLIMITED_V1 = "9223372036854771712\n"


def test_without_a_limit_the_system_counts(tmp_path: Path) -> None:
    memory = read(tmp_path)
    assert memory.limit is None
    assert memory.total == psutil.virtual_memory().total
    assert memory.usable == memory.available


def test_the_tightest_level_of_version_2_counts(tmp_path: Path) -> None:
    """The service may take 800 MiB and has 100; its slice may take 900 and has 850, of which 50 are idle cache."""
    group = "sys/fs/cgroup/edge.slice/cupola.service"
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/edge.slice/cupola.service\n",
            "proc/self/mountinfo": V2,
            f"{group}/memory.max": f"{800 * MIB}\n",
            f"{group}/memory.current": f"{100 * MIB}\n",
            "sys/fs/cgroup/edge.slice/memory.max": f"{900 * MIB}\n",
            "sys/fs/cgroup/edge.slice/memory.current": f"{850 * MIB}\n",
            "sys/fs/cgroup/edge.slice/memory.stat": f"anon 4096\ninactive_file {50 * MIB}\n",
        },
    )
    memory = read(root)
    assert (memory.limit, memory.usable) == (800 * MIB, 100 * MIB)
    assert usable_bytes(root) == 100 * MIB


def test_throttling_is_a_limit_and_a_full_group_leaves_nothing(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/memory.high": f"{600 * MIB}\n",
            "sys/fs/cgroup/memory.current": f"{700 * MIB}\n",
        },
    )
    assert (read(root).limit, read(root).usable) == (600 * MIB, 0)


def test_version_1_as_a_container_sees_it(tmp_path: Path) -> None:
    """The group is named from the host's root, and what is mounted is the group itself."""
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n1:name=systemd:/docker/ab\n0::/\n",
            "proc/self/mountinfo": V1.format(root="/docker/ab"),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{512 * MIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{300 * MIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file {MIB}\ntotal_inactive_file {20 * MIB}\n",
        },
    )
    assert (read(root).limit, read(root).usable) == (512 * MIB, 232 * MIB)


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/user\n",
            "proc/self/mountinfo": V1.format(root="/"),
            "sys/fs/cgroup/memory/user/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
        },
    )
    assert read(root).limit is None


@pytest.mark.parametrize("path", ["/../elsewhere", "/other/group", "/"])
def test_a_group_outside_of_the_mount_is_the_mount(tmp_path: Path, path: str) -> None:
    root = plant(
        tmp_path, {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": V2.replace("0:26 /", "0:26 /mine")}
    )
    assert list(folders("memory", root)) == [root / "sys/fs/cgroup"]


def test_lines_that_mean_nothing_are_passed_over() -> None:
    assert parse_groups("nonsense\n:\n") == []
    assert parse_mounts("1 2 3\n30 23 0:26 / /sys rw - ext4 /dev/sda rw\n - cgroup2\n") == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096\n", 4096),
        ("max\n", None),
        (UNLIMITED_V1, None),
        ("", None),
        ("-1", None),
        ("٤", None),
        ("9" * 5000, None),
    ],
)
def test_a_size(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_reclaimable() -> None:
    assert parse_reclaimable("anon 1\ninactive_file 7\n") == 7
    assert parse_reclaimable("inactive_file\n") == 0
