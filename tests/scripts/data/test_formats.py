import json
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from scripts.data.formats import json_lines, rows
from scripts.data.row import Bad
from server.errors import InvalidValue

PAIRS = [{"question": "one?", "answer": "1"}, {"question": 'two, "2"?\nyes', "answer": "2"}]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"pairs.{kind}"
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(PAIRS), path)
    elif kind == "jsonl":
        path.write_text("\ufeff" + "\n\n".join(map(json.dumps, PAIRS)), "utf-8")
    elif kind == "json":
        path.write_text(json.dumps({"data": PAIRS}, indent=2), "utf-8")
    else:
        mark = "\t" if kind == "tsv" else ";"
        cells = [["question", "answer"], *([pair["question"].replace('"', '""'), pair["answer"]] for pair in PAIRS)]
        path.write_text("".join(mark.join(f'"{cell}"' for cell in row) + "\r\n" for row in cells), "utf-8-sig")
    return path


@pytest.mark.parametrize(
    ("kind", "numbers"), [("jsonl", [1, 3]), ("json", [3, 7]), ("csv", [2, 4]), ("tsv", [2, 4]), ("parquet", [1, 2])]
)
def test_every_format_gives_the_same_fields_with_their_lines(tmp_path: Path, kind: str, numbers: list[int]) -> None:
    found = list(rows(written(tmp_path, kind)))
    assert [row.content for row in found] == PAIRS
    assert [row.number for row in found] == numbers
    assert found[-1].done == pytest.approx(1, abs=0.05)


def test_a_bad_line_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{broken\n[1]\n{"a": "\xff"}\n' + b"[" * 5000 + b'\n{"a": 2}\n')
    found = list(rows(path))
    assert [row.number for row in found] == [1, 2, 3, 4, 5, 6]
    kinds = [row.content.kind if isinstance(row.content, Bad) else row.content for row in found]
    assert kinds == [{"a": 1}, "not JSON", "not an object", "not JSON", "not JSON", {"a": 2}]


def test_a_row_of_csv_with_other_columns_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n1,2,3\n4,5\n", "utf-8")
    found = [row.content for row in rows(path)]
    assert found[0] == {"a": "1", "b": "2"}
    assert isinstance(found[1], Bad)
    assert found[1].reason == "3 columns where the first line has 2"
    assert found[2] == {"a": "4", "b": "5"}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.jsonl", b"", "empty.jsonl is empty."),
        ("data.txt", b"x", "none of the endings that are read: .jsonl"),
        ("lines.json", b'{"a": 1}\n{"a": 2}\n', "no array of objects; a file with an object a line has to be called"),
        ("broken.json", b'[{"a": 1},\n{"a": }]', "broken.json, line 2: no JSON: Expecting value."),
        ("open.json", b'[{"a": 1}\n{"a": 2}]', "open.json, line 2: no JSON: a comma or ] is missing."),
        ("latin.json", b'[{"a": "\xe9"}]', "latin.json is no JSON: byte 8 is not UTF-8."),
        ("deep.json", b"[" * 100_000, "is nested too deeply."),
        ("twice.csv", b"a,a\n1,2\n", "a field is named twice: a, a."),
        ("bad.parquet", b"PAR1 is not all it takes", "bad.parquet is no Parquet that can be read"),
    ],
)
def test_files_that_are_none_are_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidValue) as caught:
        list(rows(path))
    assert sentence in caught.value.message


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="is a folder; name the files in it"):
        list(rows(tmp_path))
    with pytest.raises(InvalidValue, match="There is no file"):
        list(rows(tmp_path / "gone.jsonl"))


def test_a_line_without_end_is_bad_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST", 100)
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("a" * 950, "b", "c" * 300)))
    found = list(rows(path))
    assert [row.number for row in found] == [1, 2, 3]
    assert [isinstance(row.content, Bad) for row in found] == [True, False, True]
    assert found[1].content == {"text": "b"}
    assert found[2].done == 1


def test_a_few_bytes_that_stand_for_many_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100), pyarrow.array(["x" * (8 << 20)]))
    parquet.write_table(pyarrow.table({"text": text.cast(pyarrow.string())}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidValue, match="64 rows from 1 on take 512 MB"):
        list(rows(path))
