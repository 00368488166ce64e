"""A README.md of a stranger's: what its front matter cannot be is a sentence, at once."""

import time
from pathlib import Path

import pytest

from converters import model_card
from server.errors import InvalidValue

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)) + "tags: *a39\n"


@pytest.mark.parametrize(
    ("front", "complaint"),
    [
        ("license: [", "no YAML"),
        ("license: !!python/object/apply:os.system [id]", "no YAML"),
        ("{[1]: 2}: 3", "no YAML"),
        ("[" * 100_000, "nests deeper than 32 levels"),
        ("a: x\n" * 100_000, "has more than 256 KB"),
        ("date: 2024-99-99", "no YAML"),
        ("- license", "no list of names"),
        (BOMB, "has aliases"),
        ("tags: &a [*a]", "has aliases"),
        ("\x00", "no YAML"),
    ],
)
def test_front_matter_that_cannot_be_read(front: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# A model\n", encoding="utf-8")
    start = time.process_time()
    with pytest.raises(InvalidValue, match=complaint):
        model_card.check(tmp_path)
    assert time.process_time() - start < 5


def test_the_licence_of_a_card(tmp_path: Path) -> None:
    for text, licence in (
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ('---\r\ntags:\r\n- a\r\nlicense: "mit"\r\n---\r\n', "mit"),
        ("license: mit\n", "unknown"),
        ("", "unknown"),
        ("---\nlicense: [\n", "unknown"),
    ):
        (tmp_path / "README.md").write_bytes(text.encode())
        assert model_card.licence(tmp_path) == licence
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n\xff\xfe" + b"x" * 20_000)
    assert model_card.licence(tmp_path) == "mit"
    (tmp_path / "README.md").unlink()
    assert model_card.licence(tmp_path) == "unknown"
