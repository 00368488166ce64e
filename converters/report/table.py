"""The report as a table for a terminal of 100 columns."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .figures import PROMPTS, SEQUENCES, Report, Row

COLUMNS = 100
NONE = "-"


def show(report: Report, console: Console) -> None:
    """Print it; narrower terminals wrap it."""
    console.print(render(report))


def render(report: Report) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True, pad_edge=False)
    table.add_column("ARTIFACT", overflow="fold")  # what there is too little room for is folded in this one
    table.add_column("ENGINE", no_wrap=True)
    for heading in [*headings(), *task_headings(report)]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(row.artifact, row.engine, *cells(row), *task_cells(report, row))
    return Group(table, *(Text(line) for line in footnotes(report)))


def headings() -> list[str]:
    """Of the figures, in the order of `cells`."""
    inputs = [f"IN\n{count}" for count in PROMPTS]
    outputs = [f"OUT\n{count}" for count in SEQUENCES]
    return ["SIZE\nMB", "PPL", "KL\nMEAN", "KL\n99 %", "TOP-1\n%", "RAM\nMB", "LOAD\ns", *inputs, *outputs]


def cells(row: Row) -> list[str]:
    """The figures of one artifact."""
    quality = row.quality
    return [
        f"{row.size / 1e6:.0f}",
        perplexity(row.perplexity),
        short(quality.kl_mean) if quality else NONE,
        short(quality.kl_p99) if quality else NONE,
        f"{100 * quality.top1:.1f}" if quality else NONE,
        f"{row.memory / 1e6:.0f}",
        f"{row.load_seconds:.1f}",
        *(f"{row.prefill[count]:.0f}" if count in row.prefill else NONE for count in PROMPTS),
        *(f"{row.decode[count]:.0f}" for count in SEQUENCES),
    ]


def task_headings(report: Report) -> list[str]:
    """One for each metric of a task, in the order of `task_cells`."""
    return [f"{task}\n{metric}" for task, metric in _metrics(report)]


def task_cells(report: Report, row: Row) -> list[str]:
    """What an artifact scored."""
    scored = {(score.task, score.metric): f"{score.value:.3f}" for score in row.tasks}
    return [scored.get(metric, NONE) for metric in _metrics(report)]


def _metrics(report: Report) -> list[tuple[str, str]]:
    return list(dict.fromkeys((score.task, score.metric) for row in report.rows for score in row.tasks))


def perplexity(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"


def short(divergence: float) -> str:
    """Two digits that count, in at most six characters."""
    if divergence < 1e-3:
        return f"{divergence:.1e}"
    return f"{divergence:#.2g}" if divergence < 1 else f"{divergence:.1f}"


def footnotes(report: Report) -> Iterator[str]:
    """What the figures are of, and what went wrong."""
    yield f"Reference: {report.reference}, perplexity {perplexity(report.reference_perplexity)}."
    yield f"Text: {report.text}, {report.positions} positions. KL in nats."
    yield f"Machine: {report.machine}; {report.threads} threads; {report.created:%Y-%m-%d}."
    yield "IN: tokens per second of prompts by their length; OUT: of decoding, by sequences at once."
    yield "RAM: what the process held at most with one sequence of the longest prompt."
    counts = {score.task: score.count for row in report.rows for score in row.tasks}
    if counts:
        asked = ", ".join(f"{task} ({count} items)" for task, count in counts.items())
        yield f"Tasks of lm-evaluation-harness, asked over a server: {asked}."
    for row in report.rows:
        for note in row.notes:
            yield f"Note: {row.artifact}: {note}."
    for each in report.failed:
        yield f"Not measured: {each.artifact}: {each.reason}"
