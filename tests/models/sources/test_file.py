"""Models that are on this machine already: what of a folder is taken."""

from pathlib import Path

import pytest

from server.errors import SourceError
from server.models.sources.file import FileOrigin
from server.models.spec import FileSource


def listed(folder: Path) -> list[str]:
    return [file.name for file in FileOrigin(FileSource(path=str(folder))).list_files().files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "sub").mkdir(parents=True)
    (made / "a.onnx").write_bytes(b"a")
    (made / "sub" / "b.json").write_bytes(b"b")
    return made


def test_every_file_below_it(folder: Path) -> None:
    (folder / "c.onnx").symlink_to(folder / "a.onnx")
    assert listed(folder) == ["a.onnx", "c.onnx", "sub/b.json"]


def test_a_link_that_leads_out_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    (folder / "chat_template.jinja").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match=r"chat_template\.jinja is a link that leads out"):
        listed(folder)


@pytest.mark.parametrize("name", ["a:b", "a\\b", "a\nb", "x" * 220, b"bad\xff"])
def test_a_name_that_not_every_system_can_have_is_refused(folder: Path, name: str | bytes) -> None:
    path = Path(str(folder)) / (name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    path.write_bytes(b"x")
    with pytest.raises(SourceError, match="cannot be taken"):
        listed(folder)
