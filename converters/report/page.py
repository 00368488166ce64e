"""The report as one page of HTML."""

from html import escape

from ..page import SERIES, framed, notes, paragraph, plots, table
from .figures import SEQUENCES, Report, Row
from .plot import Point, scatter
from .table import cells, footnotes, headings, task_cells, task_headings


def render(report: Report) -> str:
    """The whole page."""
    reference, *said = footnotes(report)
    engines = list(dict.fromkeys(row.engine for row in report.rows))
    colours = {engine: number % SERIES for number, engine in enumerate(engines)}
    keys = (f'<span class="key series-{colours[engine]}"></span>{escape(engine)}' for engine in engines)
    return framed(
        "Quality report",
        paragraph(reference),
        table(
            ["ARTIFACT", "ENGINE", *headings(), *task_headings(report)],
            ([row.artifact, row.engine, *cells(row), *task_cells(report, row)] for row in report.rows),
        ),
        f"<p>{''.join(keys)}</p>",
        plots(_plots(report.rows, colours)),
        notes(said),
    )


def _plots(rows: tuple[Row, ...], colours: dict[str, int]) -> list[tuple[str, str]]:
    """Size and speed against the divergence, of the artifacts that have one."""
    many = SEQUENCES[-1]
    names = shortened([row.artifact for row in rows])
    sizes, speeds = [], []
    for row, name in zip(rows, names, strict=True):
        if row.quality is None:
            continue
        kl, colour = row.quality.kl_mean, colours[row.engine]
        title = f"{row.artifact} on {row.engine}: KL {kl:.2g}"
        sizes.append(Point(row.size / 1e6, kl, name, colour, f"{title}, {row.size / 1e6:.0f} MB"))
        speeds.append(Point(row.decode[many], kl, name, colour, f"{title}, {row.decode[many]:.0f} tokens/s"))
    if not sizes:
        return []
    divergence = "Mean KL from the reference, nats"
    speed = f"Tokens per second, {many} sequences"
    return [
        ("Size against quality", scatter(sizes, "Size, MB", divergence)),
        ("Speed against quality", scatter(speeds, speed, divergence)),
    ]


def shortened(names: list[str]) -> list[str]:
    """Names without the words that all of them begin with."""
    if len(names) < 2:
        return names
    common = 0
    for position, letters in enumerate(zip(*names, strict=False)):
        if set(letters) <= set("-_@/."):
            common = position + 1
        elif len(set(letters)) > 1:
            break
    return [name[common:] for name in names]
