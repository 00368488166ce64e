"""The frame of a page of HTML: it opens without network, runs no script, and is light or dark as its reader is."""

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

SERIES = 4  # colours of STYLE

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

FRAME = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
$parts
</body>
</html>
""")


def framed(title: str, *parts: str, style: str = "") -> str:
    """The whole page of parts that are HTML; `style` is added to STYLE."""
    return FRAME.substitute(title=escape(title), style=STYLE + style, parts="\n".join(parts))


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(headings: Iterable[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """Scrolls by itself where it is too wide; `title` scrolls with it. A heading may have lines."""
    above = f"<h2>{escape(title)}</h2>" if title else ""
    head = "".join(f"<th>{_lines(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll">{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def plots(titled: Iterable[tuple[str, str]]) -> str:
    """Drawings in SVG beside each other, each below its title."""
    figures = (f"<figure><h2>{escape(title)}</h2>{drawing}</figure>" for title, drawing in titled)
    return f'<div class="plots">{"".join(figures)}</div>'


def notes(sentences: Iterable[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _lines(heading: str) -> str:
    return escape(heading).replace("\n", "<br>")
