"""No parser raises, whatever a tool prints."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.hardware import apple, cgroup, cpu, directml, engines, memory, npu, nvidia, pci, pnp

from . import FIXTURES, published

PARSERS: list[Callable[[str], object]] = [
    apple.parse,
    cgroup.parse_groups,
    cgroup.parse_mounts,
    cpu.parse,
    cpu.parse_quota,
    cpu.parse_sysctl,
    directml.parse,
    engines.parse,
    memory.parse_reclaimable,
    memory.parse_size,
    npu.parse,
    nvidia.parse,
    pci.parse,
    pnp.parse,
]
OUTPUTS = [published(path.name) for path in sorted(FIXTURES.iterdir()) if path.suffix != ".md"]
PIECES = sorted({piece for output in OUTPUTS for line in output.splitlines()[:12] for piece in line.split()})


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Published output, cut and with something strange in it."""
    output = draw(st.sampled_from(OUTPUTS))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(output))] * 2)))
    return output[:start] + draw(st.text(max_size=20)) + output[end:]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: f"{parse.__module__.rpartition('.')[2]}.{parse.__name__}")
@given(text=st.one_of(st.text(), damaged(), st.lists(st.sampled_from([*PIECES, ":", "=", "\n", ", "])).map("".join)))
def test_no_parser_raises(parse: Callable[[str], object], text: str) -> None:
    parse(text)
