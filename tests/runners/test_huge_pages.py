"""Weights in huge pages: what memory a block took, and that it is moved where the system can."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.runners.onnx.huge_pages import PAGE, SETTING, private_memory, taken, weights_in_huge_pages, whole_pages

MAPS = """\
5611c0a00000-5611c0b00000 r-xp 00000000 08:01 1234                       /usr/bin/python3
5611c1000000-5611c1800000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0004000000 rw-p 00000000 00:00 0
7f0004000000-7f0004021000 rw-p 00000000 00:00 0
7f1000000000-7f1000400000 rw-s 00000000 00:01 9                          /dev/zero (deleted)
7f2000000000-7f2000400000 rw-p 00000000 08:01 77                         /models/model.onnx.data
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
"""

SPANS = st.lists(st.integers(0, 60), unique=True, max_size=12).map(
    lambda ends: list(zip(*[iter(sorted(ends))] * 2, strict=False))
)


def test_only_memory_of_no_file_counts() -> None:
    assert private_memory(MAPS) == [
        (0x5611C1000000, 0x5611C1800000),
        (0x7F0000000000, 0x7F0004000000),
        (0x7F0004000000, 0x7F0004021000),
    ]


@given(SPANS, SPANS)
def test_what_a_block_took_is_what_is_new(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
    def addresses(spans: list[tuple[int, int]]) -> set[int]:
        return {address for start, end in spans for address in range(start, end)}

    found = taken(before, after)
    assert addresses(found) == addresses(after) - addresses(before)
    assert all(start < end for start, end in found)


def test_a_span_is_cut_to_whole_pages() -> None:
    assert whole_pages([(1, 3 * PAGE + 5), (PAGE, 2 * PAGE), (5, PAGE + 5)]) == [(PAGE, 3 * PAGE), (PAGE, 2 * PAGE)]


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of Linux")
def test_memory_is_moved_and_keeps_what_it_holds() -> None:
    if not SETTING.is_file() or "[never]" in SETTING.read_text():
        pytest.skip("this system has no huge pages to give")
    before = huge_bytes()
    with weights_in_huge_pages():
        memory = bytearray(b"0123456789abcdef") * (64 << 16)  # 64 MB, from malloc
    assert memory[:16] == b"0123456789abcdef"
    assert memory.count(b"0123456789abcdef") == 64 << 16
    if huge_bytes() - before < 50e6:
        pytest.skip("this system had none to give")


@pytest.mark.parametrize("text", [None, "always madvise [never]\n"])
def test_a_system_that_gives_none_is_left_alone(text: str | None, tmp_path: Path) -> None:
    setting = tmp_path / "enabled"
    if text:
        setting.write_text(text)
    before = huge_bytes()
    with weights_in_huge_pages(setting):
        memory = bytearray(b"0123456789abcdef") * (64 << 16)
    assert huge_bytes() - before < len(memory) / 2


def huge_bytes() -> int:
    if sys.platform != "linux":
        return 0
    found = re.search(r"AnonHugePages: *([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text())
    return int(found[1]) * 1024 if found else 0
