"""A search as one page of HTML: the losses of its trials, over time and over each number that varied."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters import page
from converters.report.plot import Point, scatter

if TYPE_CHECKING:
    from .search import Tried

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
    told = ", ".join(f"{name} {share:.0%}" for name, share in importance.items())
    pruned = sum(trial.state == "pruned" for trial in trials)
    summary = f"{len(trials)} trials, {pruned} of them pruned; the best is number {best + 1}."
    return page.framed(
        "Search",
        page.paragraph(summary + (f" What moves the loss: {told}." if told else "")),
        page.plots(plots),
        page.table(
            ["TRIAL", "STATE", *fields, "LOSS", "SECONDS"],
            (_row(trial, fields) for trial in sorted(trials, key=_loss)),
        ),
    )


def _plot(numbers: "list[tuple[float, Tried]]", title: str, best: int) -> tuple[str, str]:
    points = [
        Point(x, trial.loss or 0.0, str(trial.number + 1), int(trial.number == best), f"trial {trial.number + 1}")
        for x, trial in numbers
    ]
    return title, scatter(points, title, LOSS)


def _row(trial: "Tried", fields: list[str]) -> list[str]:
    shown = [str(trial.number + 1), trial.state, *(_said(trial.values.get(field)) for field in fields)]
    return [*shown, "-" if trial.loss is None else f"{trial.loss:.4f}", f"{trial.seconds:.0f}"]


def _said(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _loss(trial: "Tried") -> float:
    return float("inf") if trial.loss is None else trial.loss


def _number(value: object) -> float | None:
    """What a logarithmic axis can show."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
