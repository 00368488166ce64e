"""A search as one page of HTML: the losses of its trials, over time and over each number that varied."""

from collections.abc import Sequence
from html import escape
from string import Template
from typing import TYPE_CHECKING

from converters.report.page import STYLE
from converters.report.plot import Point, scatter

if TYPE_CHECKING:
    from .search import Tried

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Search</title>
<style>$style</style>
</head>
<body>
<h1>Search</h1>
<p>$summary</p>
<div class="plots">$plots</div>
<div class="scroll"><table><thead><tr>$headings</tr></thead><tbody>$rows</tbody></table></div>
</body>
</html>
""")
LOSS = "Validation loss, nats"


def render(trials: "Sequence[Tried]", best: int, importance: dict[str, float]) -> str:
    """The best trial has a colour of its own."""
    fields = list(dict.fromkeys(name for trial in trials for name in trial.values))
    ended = [trial for trial in trials if trial.loss is not None]
    plots = [_plot([(trial.number + 1.0, trial) for trial in ended], "Trial", best)]
    for field in fields:
        numbers = [(float(value), trial) for trial in ended if (value := _number(trial.values.get(field)))]
        if len({x for x, _ in numbers}) > 1:
            plots.append(_plot(numbers, field, best))
    told = ", ".join(f"{escape(name)} {share:.0%}" for name, share in importance.items())
    pruned = sum(trial.state == "pruned" for trial in trials)
    summary = f"{len(trials)} trials, {pruned} of them pruned; the best is number {best + 1}."
    headings = ["TRIAL", "STATE", *fields, "LOSS", "SECONDS"]
    return PAGE.substitute(
        style=STYLE,
        summary=summary + (f" What moves the loss: {told}." if told else ""),
        plots="".join(plots),
        headings="".join(f"<th>{escape(heading)}</th>" for heading in headings),
        rows="".join(_row(trial, fields) for trial in sorted(trials, key=_loss)),
    )


def _plot(numbers: "list[tuple[float, Tried]]", title: str, best: int) -> str:
    points = [
        Point(x, trial.loss or 0.0, str(trial.number + 1), int(trial.number == best), f"trial {trial.number + 1}")
        for x, trial in numbers
    ]
    return f"<figure><h2>{escape(title)}</h2>{scatter(points, title, LOSS)}</figure>"


def _row(trial: "Tried", fields: list[str]) -> str:
    shown = [str(trial.number + 1), trial.state, *(_said(trial.values.get(field)) for field in fields)]
    shown += ["-" if trial.loss is None else f"{trial.loss:.4f}", f"{trial.seconds:.0f}"]
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in shown)}</tr>"


def _said(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _loss(trial: "Tried") -> float:
    return float("inf") if trial.loss is None else trial.loss


def _number(value: object) -> float | None:
    """What a logarithmic axis can show."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
