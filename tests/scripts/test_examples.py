"""Files of examples that somebody else wrote."""

from pathlib import Path

import pytest

from scripts import examples
from server.errors import InvalidValue


@pytest.mark.parametrize(
    "line", [b'{"text": "\xff"}', b'{"text": "a", "meta": {"a": ' + b"[" * 100_000, b"[]", b"\x00"]
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "test.jsonl").write_bytes(b'{"text": "good"}\n' + line)
    with pytest.raises(InvalidValue, match=r"test\.jsonl, line 2: "):
        examples.read(tmp_path / "test.jsonl")
