import csv
import io
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from converters.program import build
from scripts import commands, examples
from scripts.evaluation.answers import Answer, prompt_hash
from scripts.evaluation.evaluate import evaluate
from scripts.evaluation.order import Order
from scripts.evaluation.rating import Key, export, key_of, read
from scripts.reporting import Reporter
from server.errors import InvalidValue

from .endpoint import data, endpoint

TEXTS = ["=HYPERLINK(1)", "'quoted", 'plain, with "marks"', "two\nlines", "-1", " +x", "same", "\tcell"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two models' answers: the first's are TEXTS, the second's differ in all but one."""
    folder = data(tmp_path, [(f"@say {n}", "x") for n in range(len(TEXTS))])
    asked = examples.read(folder / "test.jsonl")
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for file, texts in ((one, TEXTS), (other, [text if text == "same" else f"other {text}" for text in TEXTS])):
        answers = [Answer(str(n), prompt=prompt_hash(asked[n]), text=text) for n, text in enumerate(texts)]
        answers.append(Answer("run", memory=5))
        file.write_bytes(b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers))
    return one, other


def rows(sheet: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(sheet.read_text("utf-8-sig"), newline="")))


def fill(sheet: Path, verdicts: list[str], ending: str = "\n") -> None:
    head, *lines = rows(sheet)
    text = io.StringIO()
    csv.writer(text, lineterminator=ending).writerows(
        [head, *([*line[:-1], verdict] for line, verdict in zip(lines, verdicts, strict=True))]
    )
    sheet.write_text(text.getvalue(), "utf-8", newline="")


def test_the_first_wins_wherever_it_stood(files: tuple[Path, Path], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    made = export(files, tmp_path, sheet, seed=1)
    assert (made.rows, made.same) == (7, 1)
    key = Key.model_validate_json(key_of(sheet).read_bytes())
    assert set(key.first) == {0, 1}
    assert "one.jsonl" not in sheet.read_text("utf-8")
    cells = [cell for line in rows(sheet) for cell in line]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@")) or cell.startswith("\t")]
    fill(sheet, ["2" if first else "1" for first in key.first])
    found = read(sheet)
    assert found.wins == (7, 0)
    assert found.p_value == pytest.approx(2 / 128)
    fill(sheet, ["'=", "", *("1" if first else "2" for first in key.first[2:])], "\r\n")
    again = read(sheet)
    assert (again.wins, again.ties, again.unrated) == ((0, 5), 1, 1)


def test_answers_of_an_older_setting_are_left_out(files: tuple[Path, Path], tmp_path: Path) -> None:
    asked = examples.read(tmp_path / "test.jsonl")
    with files[1].open("ab") as file:
        for n in range(2):
            answer = Answer(f"b{n}", prompt=prompt_hash(asked[n]), text=f"new {n}", setting="b")
            file.write(msgspec.json.encode(answer) + b"\n")
    made = export(files, tmp_path, tmp_path / "sheet.csv")
    assert (made.rows, made.same, made.older) == (2, 0, len(TEXTS))
    said = {cell for line in rows(tmp_path / "sheet.csv")[1:] for cell in line[2:4]}
    assert {"new 0", "new 1"} < said
    assert not [cell for cell in said if cell.startswith("other")]


def test_an_evaluation_under_another_setting_is_not_mixed_with_the_first(tmp_path: Path) -> None:
    found, out = data(tmp_path, [(f"word {n}", "x") for n in range(4)]), tmp_path / "out"
    with endpoint() as server:
        order = Order(targets=(server.url,), data=found, timed=0, out=out)
        evaluate(order, Reporter(None))
        evaluate(order.model_copy(update={"max_tokens": 9, "limit": 2}), Reporter(None))
    [answers] = out.glob("answers-*.jsonl")
    made = export((found / "test.jsonl", answers), found, tmp_path / "sheet.csv")
    assert (made.rows, made.older) == (2, 4)


def test_a_spoiled_sheet_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    export(files, tmp_path, sheet)
    with pytest.raises(InvalidValue, match="exists already"):
        export(files, tmp_path, sheet)
    fill(sheet, ["perhaps"] + [""] * 6)
    with pytest.raises(InvalidValue, match="number 1: better is 1, 2 or ="):
        read(sheet)
    text = sheet.read_text("utf-8")
    sheet.write_text(text.replace("quoted", "changed"), "utf-8", newline="")
    with pytest.raises(InvalidValue, match="only the column 'better'"):
        read(sheet)
    sheet.write_text(text.replace("better", "best"), "utf-8", newline="")
    with pytest.raises(InvalidValue, match="has not the columns"):
        read(sheet)
    with pytest.raises(InvalidValue, match="say the same"):
        export((files[0], files[0]), tmp_path, tmp_path / "another.csv")
    for line in ("3", '{"messages": []}', "[" * 100_000):
        sheet.write_text(f"{line}\n")
        with pytest.raises(InvalidValue, match="line 1 is neither"):
            export((files[0], sheet), tmp_path, tmp_path / "another.csv")


def test_the_command(files: tuple[Path, Path], tmp_path: Path) -> None:
    run, app = CliRunner(), build(commands, "x")
    sheet = tmp_path / "sheet.csv"
    given = ["rate", "export", *map(str, files), "--data", str(tmp_path), "--out", str(sheet)]
    assert "7 pairs" in run.invoke(app, given).stdout
    assert "not rated 7" in run.invoke(app, ["rate", "read", str(sheet)]).stdout
    assert "rate read takes one sheet" in run.invoke(app, ["rate", "read", *map(str, files)]).stderr
