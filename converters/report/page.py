"""The report as one page of HTML: it opens without network, runs no script, and is light or dark as its reader is."""

from html import escape
from string import Template

from .figures import SEQUENCES, Report, Row
from .plot import Point, scatter
from .table import cells, footnotes, headings, task_cells, task_headings

SERIES = 4  # colours of engines

STYLE = """
:root { --page: #fcfcfb; --ink: #1f2328; --soft: #5b636d; --rule: #dfe2e6;
  --series-0: #0b62c4; --series-1: #b4540a; --series-2: #0a7f5a; --series-3: #8a3fb0; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --ink: #e8eaed; --soft: #a3abb5; --rule: #343a41;
  --series-0: #6cb0ff; --series-1: #f0a060; --series-2: #4fcf9f; --series-3: #cf9bee; } }
body { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 84rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .25rem; } h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
p, li { color: var(--soft); margin: .15rem 0; } ul { padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
th { color: var(--soft); font-size: .8rem; font-weight: 600; vertical-align: bottom; }
th, td { border-bottom: 1px solid var(--rule); padding: .4rem .6rem; text-align: right; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:first-child { overflow-wrap: anywhere; white-space: normal; }
.plots { display: grid; gap: 2rem; margin: 1rem 0 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); }
figure { margin: 0; } svg { display: block; height: auto; width: 100%; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } svg .label { fill: var(--ink); font-size: 11px; }
svg .axis { font-size: 13px; } .grid { stroke: var(--rule); }
.series-0 { fill: var(--series-0); background: var(--series-0); }
.series-1 { fill: var(--series-1); background: var(--series-1); }
.series-2 { fill: var(--series-2); background: var(--series-2); }
.series-3 { fill: var(--series-3); background: var(--series-3); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin: 0 .3rem 0 1rem; }
.key:first-child { margin-left: 0; }
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Quality report</title>
<style>$style</style>
</head>
<body>
<h1>Quality report</h1>
<p>$reference</p>
<div class="scroll"><table><thead><tr>$headings</tr></thead><tbody>$rows</tbody></table></div>
<p>$legend</p>
<div class="plots">$plots</div>
<ul>$notes</ul>
</body>
</html>
""")


def render(report: Report) -> str:
    """The whole page."""
    reference, *notes = footnotes(report)
    engines = list(dict.fromkeys(row.engine for row in report.rows))
    colours = {engine: number % SERIES for number, engine in enumerate(engines)}
    keys = (f'<span class="key series-{colours[engine]}"></span>{escape(engine)}' for engine in engines)
    return PAGE.substitute(
        style=STYLE,
        reference=escape(reference),
        headings="".join(
            f"<th>{_lines(heading)}</th>" for heading in ["ARTIFACT", "ENGINE", *headings(), *task_headings(report)]
        ),
        rows="".join(_row(report, row) for row in report.rows),
        legend="".join(keys),
        plots="".join(_plots(report.rows, colours)),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
    )


def _row(report: Report, row: Row) -> str:
    shown = [row.artifact, row.engine, *cells(row), *task_cells(report, row)]
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in shown)}</tr>"


def _lines(heading: str) -> str:
    return escape(heading).replace("\n", "<br>")


def _plots(rows: tuple[Row, ...], colours: dict[str, int]) -> list[str]:
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
        f"<figure><h2>Size against quality</h2>{scatter(sizes, 'Size, MB', divergence)}</figure>",
        f"<figure><h2>Speed against quality</h2>{scatter(speeds, speed, divergence)}</figure>",
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
