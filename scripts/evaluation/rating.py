"""Blind rating by people: a sheet that does not say whose answer is whose, a key beside it, and what they said."""

import csv
import hashlib
import io
import json
import random
from pathlib import Path

import msgspec
from pydantic import BaseModel, Field

from server.errors import InvalidValue
from server.models.files import storage_errors, write_atomically

from .. import examples
from .answers import Answer, prompt_hash
from .statistics import mcnemar

COLUMNS = ("number", "prompt", "answer_1", "answer_2", "better")
VERDICTS = {"1": 1, "2": 2, "=": 0}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet run a cell
MARK = "'"  # what makes it text


class Key(BaseModel):
    """Which answer is whose: for each row, the file (0 or 1) that its first answer is of."""

    files: tuple[str, str]
    first: list[int]
    sheet_sha256: str = Field(description="of the rows without their verdicts")


class Exported(BaseModel):
    """What was written; the pairs that were left out because both said the same, and answers of older settings."""

    sheet: str
    key: str
    rows: int
    same: int
    older: int


class Ratings(BaseModel):
    """What people found; the p-value is the two-sided exact sign test's, ties left out."""

    files: tuple[str, str]
    wins: tuple[int, int]
    ties: int
    unrated: int
    p_value: float


def export(files: tuple[Path, Path], data: Path, sheet: Path, seed: int = 0) -> Exported:
    """Write the sheet and SHEET.key.json. `files` are answers-*.jsonl of one evaluation, or examples with answers.

    Raises InvalidValue.
    """
    asked = examples.read(data / "test.jsonl" if data.is_dir() else data)
    (one, older), (other, older_too) = (_answers(file, asked) for file in files)
    shared = [n for n in range(len(asked)) if n in one and n in other]
    if not shared:
        raise InvalidValue(f"{files[0]} and {files[1]} answer none of the same examples of {data}.")
    chosen = [n for n in shared if one[n].strip() != other[n].strip()]
    if not chosen:
        raise InvalidValue(f"{files[0]} and {files[1]} say the same to every example, so there is nothing to rate.")
    draw = random.Random(seed)  # noqa: S311
    draw.shuffle(chosen)
    rows, first = [], []
    for number, place in enumerate(chosen, start=1):
        pair = [one[place], other[place]]
        begins = draw.randrange(2)
        first.append(begins)
        prompt = "\n".join(f"{turn.role}: {turn.content}" for turn in asked[place].prompt)
        rows.append([str(number), prompt, pair[begins], pair[1 - begins]])
    key = Key(files=(str(files[0]), str(files[1])), first=first, sheet_sha256=_digest(rows))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([*map(_safe, row), ""] for row in rows)
    where = key_of(sheet)
    with storage_errors(sheet.parent):
        sheet.parent.mkdir(parents=True, exist_ok=True)
        for path in (sheet, where):
            if path.exists():
                raise InvalidValue(f"{path} exists already, and may hold ratings; choose another name.")
        write_atomically(where, key.model_dump_json() + "\n")
        write_atomically(sheet, "\ufeff" + text.getvalue())  # the mark by which spreadsheets know UTF-8
    same, older = len(shared) - len(chosen), older + older_too
    return Exported(sheet=str(sheet), key=str(where), rows=len(rows), same=same, older=older)


def read(sheet: Path) -> Ratings:
    """Raises InvalidValue for a sheet that does not belong to its key, and for a verdict that is none, by row."""
    where = key_of(sheet)
    for path in (sheet, where):
        if not path.is_file():
            raise InvalidValue(f"There is no file {path}.")
    try:
        key = Key.model_validate_json(where.read_bytes())
        lines = list(csv.reader(io.StringIO(sheet.read_text("utf-8-sig"), newline="")))
    except (ValueError, csv.Error) as error:
        raise InvalidValue(f"{sheet} or its key cannot be read: {str(error).splitlines()[0]}.") from None
    if not lines or tuple(lines[0]) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise InvalidValue(f"{sheet} has not the columns {', '.join(COLUMNS)}, separated by commas.")
    rated = sorted(lines[1:], key=lambda line: int(line[0]) if line[0].isdecimal() else 0)
    if _digest([[_plain(cell) for cell in line[:-1]] for line in rated]) != key.sheet_sha256:
        raise InvalidValue(f"{sheet} is not what {where} belongs to: only the column 'better' is to be filled in.")
    wins, ties, unrated = [0, 0], 0, 0
    for line, begins in zip(rated, key.first, strict=True):
        verdict = _plain(line[-1].strip())
        if not verdict:
            unrated += 1
        elif verdict not in VERDICTS:
            raise InvalidValue(f"{sheet}, number {line[0]}: better is 1, 2 or =, not {verdict[:20]!r}.")
        elif VERDICTS[verdict] == 0:
            ties += 1
        else:
            wins[begins if verdict == "1" else 1 - begins] += 1
    won = (wins[0], wins[1])
    return Ratings(files=key.files, wins=won, ties=ties, unrated=unrated, p_value=mcnemar(*won))


def key_of(sheet: Path) -> Path:
    return sheet.with_name(f"{sheet.name}.key.json")


def _answers(file: Path, asked: list[examples.Example]) -> tuple[dict[int, str], int]:
    """The texts of a file by their example's place, and how many of older settings than the last are left out.

    One file has the answers of a target under all settings, and the files of a trained model are one: a sheet with
    some of each would rate neither. Raises InvalidValue.
    """
    if not file.is_file():
        raise InvalidValue(f"There is no file {file}.")
    places = {prompt_hash(example): number for number, example in enumerate(asked)}
    found: dict[str, dict[int, str]] = {"": {}}
    last = ""
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            document = json.loads(line)
            if "messages" in document:
                example = msgspec.convert(document, examples.Example)
                place, text, setting = places.get(prompt_hash(example)), example.answer, ""
            else:
                answer = msgspec.convert(document, Answer)
                place, text, setting = places.get(answer.prompt), answer.text, answer.setting
        except (ValueError, TypeError, LookupError, RecursionError, msgspec.MsgspecError):
            raise InvalidValue(f"{file}, line {number} is neither an answer nor an example.") from None
        if place is not None:
            last = setting
            found.setdefault(setting, {})[place] = text
    return found[last], sum(len(texts) for texts in found.values()) - len(found[last])


def _digest(rows: list[list[str]]) -> str:
    """Blind to how a spreadsheet ends lines."""
    told = [[" ".join(cell.split()) for cell in row] for row in rows]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; one that begins with the mark is marked too, to be read back."""
    return MARK + cell if cell.lstrip().startswith((*FORMULA, MARK)) or cell.startswith(FORMULA) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith(MARK) else cell
