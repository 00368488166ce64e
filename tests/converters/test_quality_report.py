"""The quality report, on small models that real engines run."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from converters import quality, quantize
from converters.gguf_to_onnx import convert as to_onnx
from converters.report import measure, page, plot, table, text
from converters.report.artifacts import Finder
from converters.report.figures import Report, Row
from server.environment import child_environment
from server.errors import InvalidValue, LoadFailed
from server.models.quality import Quality
from server.runners.base import FloatRows
from server.settings import Settings

from .small import Small, write

MODEL = Small("llama", tied=False, feed_forward=128)
VOCABULARY = 50


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "converters", "quality-report", "--threads", "1", *map(str, arguments)]
    return subprocess.run(command, check=False, env=child_environment(), capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in float32, in 8 bits, as ONNX, with another vocabulary, and a damaged one."""
    folder = tmp_path_factory.mktemp("artifacts")
    model = write(folder / "small.gguf", MODEL)
    quantize.convert(model, folder / "q8", "q8_0")
    to_onnx(model, folder / "small-onnx", "fp32")
    write(folder / "other.gguf", Small("llama", tied=False, feed_forward=128, merges=("t h", "h e")))
    shutil.copytree(folder / "small-onnx", folder / "damaged")
    (folder / "damaged" / "model.onnx").write_bytes(b"no graph")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    artifacts = [folder / name for name in ("small.gguf", "q8", "damaged", "small-onnx", "other.gguf")]
    return run(*artifacts, "--html", folder / "report.html", "--json")


@pytest.fixture(scope="module")
def report(done: subprocess.CompletedProcess[str]) -> Report:
    return Report.model_validate_json(done.stdout)


def test_artifacts_of_two_engines_stand_side_by_side(folder: Path, report: Report) -> None:
    exact, rounded, onnx, _ = report.rows
    assert [row.engine for row in (exact, rounded, onnx)] == ["llama", "llama", "onnx"]
    assert [row.artifact for row in (exact, rounded, onnx)] == ["small", "small-Q8_0", "small-onnx"]
    assert report.reference == "float32 forward of small.gguf"
    assert report.positions == text.MOST
    for row in (exact, rounded, onnx):
        assert row.quality is not None
        assert row.quality.positions == report.positions
        assert row.perplexity == pytest.approx(report.reference_perplexity, rel=0.05)
        assert row.prefill.keys() == {64}, "longer ones do not fit in a context of 256"
        assert row.decode.keys() == {1, 8}
        assert min(*row.prefill.values(), *row.decode.values(), row.load_seconds) > 0
        assert row.memory > row.size
    assert exact.size == (folder / "small.gguf").stat().st_size
    exact_kl, rounded_kl, onnx_kl = (row.quality.kl_mean for row in (exact, rounded, onnx) if row.quality)
    assert max(exact_kl, onnx_kl) < rounded_kl < 0.05
    assert exact.perplexity == pytest.approx(report.reference_perplexity, rel=1e-3)


def test_other_tokens_are_not_compared(report: Report) -> None:
    row = report.rows[3]
    assert row.artifact == "other"
    assert row.quality is None
    assert row.perplexity > 1
    assert row.notes == ("it reads the text in other tokens than the reference",)


def test_one_that_fails_is_told_of_and_the_others_are_measured(
    done: subprocess.CompletedProcess[str], report: Report
) -> None:
    assert done.returncode == 1
    [failed] = report.failed
    assert failed.artifact == "damaged"
    assert failed.reason
    assert "Traceback" not in done.stderr + failed.reason


class Elements(HTMLParser):
    """Counts elements, and gathers what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.fetched: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.fetched += [value for name, value in attrs if name in {"src", "href", "xlink:href", "data", "srcset"}]


def test_the_page_needs_no_network_and_no_script(folder: Path) -> None:
    content = (folder / "report.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(content)
    assert elements.fetched == []
    assert "url(" not in content
    assert "@import" not in content
    assert "script" not in elements.counts
    assert elements.counts["svg"] == 2
    assert elements.counts["circle"] == 2 * 3, "each of the three that were compared is in both plots"
    assert "prefers-color-scheme: dark" in content


def row(name: str, kl: float | None = 0.0123) -> Row:
    found = Quality(kl_mean=kl, kl_p99=10 * kl, top1=0.999, positions=9, reference="r") if kl is not None else None
    return Row(
        artifact=name,
        engine="llama",
        device="cpu",
        size=4_700_000_000,
        perplexity=123.456,
        quality=found,
        memory=9_999_000_000,
        load_seconds=12.34,
        prefill={64: 1234.5, 512: 1234.5, 2048: 1234.5},
        decode={1: 123.4, 8: 1234.5},
    )


def many(*rows: Row) -> Report:
    return Report(
        created="2026-01-01T00:00:00Z",
        machine="A processor, 8 cores",
        threads=8,
        reference="float32 forward of <b>.gguf",
        reference_perplexity=12.3,
        text="bundled text",
        text_sha256="0" * 64,
        positions=734,
        rows=rows,
    )


def test_the_table_fits_a_hundred_columns() -> None:
    console = Console(width=table.COLUMNS, record=True, file=io.StringIO())
    table.show(many(row("qwen2.5-coder-0.5b-instruct@onnx-int4-128", 1.2e-7), row("b", None), row("c", 3.4)), console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= table.COLUMNS
    whole = " ".join(lines)
    for figure in ("4700", "123.46", "1.2e-07", "1.2e-06", "99.9", "9999", "12.3", "1234", "3.4"):
        assert figure in whole, f"{figure} is cut"


def test_the_page_quotes_names() -> None:
    content = page.render(many(row("<script>alert(1)</script>"), row("b")))
    assert "<script>" not in content
    assert "float32 forward of &lt;b&gt;.gguf" in content


def test_labels_hide_nothing() -> None:
    points = [plot.Point(100 + i % 3, 0.1 + 0.001 * i, f"artifact-{i}", 0, "") for i in range(30)]
    drawn = plot.scatter(points, "x", "y")
    assert drawn.count("<circle") == len(points)
    assert 0 < drawn.count('class="label"') < len(points), "those without room are left out"
    assert ">\u2264 0.0001<" in drawn, "what is below the axis is said to be"
    assert plot.scatter([plot.Point(1, 0, "only", 0, "")], "x", "y").count("<circle") == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["m-Q4_0", "m-Q8_0"], ["Q4_0", "Q8_0"]),
        (["m@gguf-q4_1", "m@onnx-int4"], ["gguf-q4_1", "onnx-int4"]),
        (["m-Q4_0", "m@onnx-int4"], ["Q4_0", "onnx-int4"]),
        (["a", "b"], ["a", "b"]),
        (["m-Q4_0"], ["m-Q4_0"]),
        (["m-Q4", "m-Q4-imatrix"], ["Q4", "Q4-imatrix"]),
    ],
)
def test_labels_leave_out_what_all_begin_with(names: list[str], expected: list[str]) -> None:
    assert page.shortened(names) == expected


class Fixed:
    """Rows that depend on their place only."""

    name = "fixed"

    def rows(self, tokens: list[int], step: int) -> Iterator[FloatRows]:
        every = np.random.default_rng(1).standard_normal((len(tokens), VOCABULARY), np.float32)
        yield from (every[at : at + step] for at in range(0, len(tokens), step))


def test_perplexity_is_the_textbook_s_over_all_sequences() -> None:
    listened = text.Listened(Fixed())
    sequences = [[3, 1, 4, 1, 5, 9, 2], [6, 5, 3]]
    surprises = []
    for tokens in sequences:
        rows = np.concatenate([part.copy() for part in listened.rows(tokens, 2)]).astype(np.float64)
        p = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
        surprises += [-np.log(p[at, token]) for at, token in enumerate(tokens[1:])]
    assert listened.perplexity == pytest.approx(np.exp(np.mean(surprises)))


def test_stored_rows_are_those_that_were_written(tmp_path: Path) -> None:
    sequences = [[1] * 9, [2] * 4]
    with (tmp_path / "rows").open("wb") as file:
        for tokens in sequences:
            for part in Fixed().rows(tokens, 3):
                part.tofile(file)
    with (tmp_path / "rows").open("rb") as file:
        stored = text.StoredRows(file, VOCABULARY, "stored")
        found = quality.compared(stored, Fixed(), sequences)
    assert found.kl_mean == 0
    assert found.top1 == 1
    assert found.positions == 13


def test_a_text_is_cut_in_sequences() -> None:
    assert [len(part) for part in text.windows([1] * 1300, 4096)] == [512, 512]
    assert [len(part) for part in text.windows([1] * 700, 4096)] == [512, 188]
    assert [len(part) for part in text.windows([1] * 201, 100)] == [100, 100], "one token tells nothing of the next"
    led = text.windows([7, *[1] * 600], 4096, 590, lead=[7])
    assert [(part[0], len(part)) for part in led] == [(7, 512), (7, 79)]
    assert sum(part.count(1) for part in led) == 589


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"Too short.", "at least 128 are needed"),
        (b"\xff\xfe" * 500, "no text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_text_that_does_not_do_is_refused(
    folder: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    done = run(folder / "small.gguf", "--data", path)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stdout == ""


def test_no_two_artifacts_are_called_the_same(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "small.gguf"
    again.write_bytes((folder / "small.gguf").read_bytes())
    paths = [str(folder / "small.gguf"), str(again), str(folder / "q8")]
    assert [each.label for each in Finder(Settings(home=tmp_path)).find(paths)] == [paths[0], paths[1], "small-Q8_0"]
    with pytest.raises(InvalidValue, match="There is no"):
        Finder(Settings(home=tmp_path)).find([str(tmp_path / "missing.gguf")])


def test_the_last_words_of_a_process_that_died() -> None:
    with pytest.raises(LoadFailed, match="GGML_ASSERT"):
        measure._answer("[1, 2]\n", "loading\nGGML_ASSERT failed\n", -6)


def test_the_reference_may_be_another_artifact(folder: Path) -> None:
    done = run(folder / "q8", "--reference", folder / "small-onnx", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reference"] == "small-onnx on onnx"
    assert 0 < found["rows"][0]["quality"]["kl_mean"] < 0.05
