"""The bounded reader: right about whole files, quick and clear about any others."""

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.errors import InvalidValue
from server.models import gguf

from ..converters.small import Small, write

MODEL = Small("qwen2", biased=True)
HUGE = 2**63


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(kind: int, content: bytes) -> bytes:
    return struct.pack("<I", kind) + content


def strings(count: int, content: bytes = b"") -> bytes:
    return value(9, struct.pack("<IQ", 8, count) + content)


def tensor(name: str = "a", dimensions: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    shape = b"".join(struct.pack("<Q", dimension) for dimension in dimensions)
    return text(name) + struct.pack("<I", len(dimensions)) + shape + struct.pack("<IQ", kind, offset)


def header(keys: list[bytes] | None = None, tensors: list[bytes] | None = None, version: int = 3) -> bytes:
    """A file of these keys and tensors, with 4,096 bytes of data."""
    keys, tensors = keys or [], tensors or []
    start = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    whole = start + b"".join(keys) + b"".join(tensors)
    return whole + b"\0" * (-len(whole) % 32 + 4096)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "another format": (b"PK\3\4" + b"\0" * 100, "no GGUF file"),
    "the magic alone": (b"GGUF", "ends in the middle"),
    "version 1": (header(version=1), "version 1 "),
    "big-endian": (header(version=3 << 24), "version"),
    "keys without end": (b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE), "keys"),
    "tensors without end": (b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0), "tensors"),
    "more keys than there are": (b"GGUF" + struct.pack("<IQQ", 3, 0, 4000), "ends in the middle"),
    "a key of 8 EB": (header([struct.pack("<Q", HUGE)]), "bytes of a string"),
    "a string of 8 EB": (header([text("a") + value(8, struct.pack("<Q", HUGE))]), "bytes of a string"),
    "a key twice": (header([text("a") + value(0, b"\1")] * 2), "appears twice"),
    "a type of value that is not": (header([text("a") + value(77, b"")]), "unknown type 77"),
    "an array of arrays": (header([text("a") + value(9, struct.pack("<IQ", 9, 1))]), "unknown type 9"),
    "an array without end": (header([text("a") + value(9, struct.pack("<IQ", 10, HUGE))]), "array elements"),
    "an array that overflows": (header([text("a") + value(9, struct.pack("<IQ", 10, 2**61 + 1))]), "array elements"),
    "strings without end": (header([text("a") + strings(HUGE)]), "array elements"),
    "more strings than bytes": (header([text("a") + strings(1 << 20)]), "ends in the middle"),
    "a string in an array that is long": (
        header([text("a") + strings(2, struct.pack("<Q", HUGE - 1))]),
        "too long",
    ),
    "strings in arrays by the million": (
        header([text(str(i)) + strings(600_000, b"\0" * 4_800_000) for i in range(2)]),
        "strings in arrays",
    ),
    "no dimensions": (header(tensors=[tensor(dimensions=())]), "dimensions"),
    "a dimension of zero": (header(tensors=[tensor(dimensions=(32, 0))]), "dimensions"),
    "a dimension below zero": (header(tensors=[tensor(dimensions=(2**64 - 32,))]), "ends at byte"),
    "too many dimensions": (header(tensors=[tensor(dimensions=(1,) * 5)]), "dimensions"),
    "dimensions without end": (header(tensors=[text("a") + struct.pack("<I", 2**32 - 1)]), "dimensions"),
    "a product that overflows": (header(tensors=[tensor(dimensions=(2**32, 2**32))]), "ends at byte"),
    "a part of a block": (header(tensors=[tensor(dimensions=(33,), kind=2)]), "dimensions"),
    "a type of tensor that is not": (header(tensors=[tensor(kind=999)]), "unknown type 999"),
    "an offset beyond the end": (header(tensors=[tensor(offset=1 << 40)]), "incomplete"),
    "an offset that overflows": (header(tensors=[tensor(offset=2**64 - 32)]), "incomplete"),
    "an offset between": (header(tensors=[tensor(offset=7)]), "not aligned"),
    "a tensor twice": (header(tensors=[tensor(), tensor(offset=128)]), "appears twice"),
    "a tensor inside another": (header(tensors=[tensor(), tensor("b", offset=32)]), "inside another"),
    "an alignment of zero": (header([text("general.alignment") + value(4, struct.pack("<I", 0))]), "alignment"),
    "an alignment of three": (header([text("general.alignment") + value(4, struct.pack("<I", 3))]), "alignment"),
    "an alignment of words": (header([text("general.alignment") + value(8, text("x"))]), "alignment"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_whole_is_refused_at_once(what: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[what]
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    start = time.process_time()
    with pytest.raises(InvalidValue, match=reason) as caught:
        gguf.read(file)
    assert time.process_time() - start < 1
    assert "model.gguf" in caught.value.message
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("place", ["missing.gguf", "."])
def test_what_is_no_file_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no GGUF file"):
        gguf.read(tmp_path / place)


def test_a_header_is_read_as_the_gguf_package_reads_it(tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", MODEL)
    found, theirs = gguf.read(file), GGUFReader(file)
    fields = {name: field for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert found.metadata.keys() == fields.keys()
    for name, field in fields.items():
        assert same(found.metadata[name], field.contents()), name
    assert found.architecture == "qwen2"
    assert found.get("block_count") == 2
    assert found.get("absent", 7) == 7
    assert list(found.tensors) == [tensor.name for tensor in theirs.tensors]
    for each in theirs.tensors:
        info = found.tensors[each.name]
        assert info.shape == tuple(reversed(each.shape.tolist()))
        assert found.raw(info).tobytes() == each.data.tobytes()


def same(ours: Any, theirs: Any) -> bool:
    return ours.tolist() == theirs if isinstance(ours, np.ndarray) else bool(ours == theirs)


def test_the_context_is_the_header_s(tmp_path: Path) -> None:
    assert gguf.context_length(write(tmp_path / "model.gguf", MODEL)) == 256
    (tmp_path / "bare.gguf").write_bytes(header([text("general.architecture") + value(8, text("x"))]))
    assert gguf.context_length(tmp_path / "bare.gguf") is None


def test_text_that_is_no_utf_8_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(header([text("a") + value(8, struct.pack("<Q", 2) + b"\xff\xfe")]))
    assert gguf.read(tmp_path / "model.gguf").metadata["a"] == "\ufffd\ufffd"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("fuzz") / "model.gguf", Small("qwen2", layers=1, hidden=32, biased=True))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_is_more_than_an_error(flips: list[tuple[int, int]], whole: Path, tmp_path: Path) -> None:
    content = bytearray(whole.read_bytes())
    for at, byte in flips:
        content[at % len(content)] = byte
    damaged(tmp_path / "flipped.gguf", bytes(content))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_no_part_of_a_file_is_a_file(share: float, whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    file = tmp_path / "part.gguf"
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InvalidValue):
        gguf.read(file)


def damaged(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    start = time.process_time()
    try:
        found = gguf.read(file)
    except InvalidValue:
        return
    finally:
        assert time.process_time() - start < 1
    assert all(len(found.raw(info)) == info.size for info in found.tensors.values())
