"""The evaluation as one page of HTML."""

from html import escape

from converters import page
from converters.report.page import shortened
from converters.report.plot import Point, scatter

from .case_study import COSTS, TIMES, rows, title
from .found import Evaluation, Target

OUR_STYLE = "td:nth-child(n+2) { font-size: .9rem; } th { white-space: normal; overflow-wrap: anywhere; }"


def render(evaluation: Evaluation) -> str:
    """The whole page."""
    first = evaluation.targets[0].target
    names = [target.target for target in evaluation.targets]
    case = _table("Case study", ["", *names], [[row.title, *row.cells] for row in rows(evaluation)])
    tests = [
        [
            one.target,
            title(one.metric),
            f"{one.difference:+.4g}",
            f"[{one.low:+.4g}, {one.high:+.4g}]",
            f"{one.p_value:.4f}",
            one.test,
        ]
        for one in evaluation.comparisons
    ]
    heads = ["Target", "Measure", f"Difference from {first}", "95 % interval", "p", "Test"]
    tables = [case, _table("Differences", heads, tests) if tests else "", *map(_classes, evaluation.targets)]
    return page.framed(
        "Evaluation",
        page.paragraph(
            f"{evaluation.examples} examples of {evaluation.data}; {evaluation.seconds:.0f} s. In brackets: bootstrap"
            f" 95 % intervals. Percentages behind a colon are shares of what {first} has."
        ),
        "".join(tables),
        page.plots(_plots(evaluation)),
        page.notes(notes(evaluation)),
        style=OUR_STYLE,
    )


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader has to know beside the figures."""
    said = [
        f"{target.target}: {title(name)} not measured, {reason}."
        for target in evaluation.targets
        for name, reason in target.not_measured.items()
    ]
    said += [f"{one.target}: max_tokens cut {one.cut} answers." for one in evaluation.targets if one.cut]
    return said


def _classes(target: Target) -> str:
    if not target.classes:
        return ""
    lines = [
        [name or "(empty)", f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.f1:.1%}", str(one.n)]
        for name, one in target.classes.items()
    ]
    return _table(f"Classes: {target.target}", ["Class", "Precision", "Recall", "F1", "Examples"], lines)


def _table(title: str, heads: list[str], lines: list[list[str]]) -> str:
    return f"<h2>{escape(title)}</h2>{page.table(heads, lines)}"


def _plots(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The first quality's misses against time and size, of the targets that have both."""
    skipped = {*COSTS, *TIMES, "perplexity"}
    quality = next((name for name in evaluation.targets[0].metrics if name not in skipped), None)
    if quality is None:
        return []
    labels = shortened([target.target for target in evaluation.targets])
    times, sizes = [], []
    for number, (target, label) in enumerate(zip(evaluation.targets, labels, strict=True)):
        if quality not in target.metrics:
            continue
        misses, colour = 1 - target.metrics[quality].value, number % page.SERIES
        latency = target.metrics.get("latency_seconds")
        if latency is not None and latency.value > 0:
            times.append(Point(latency.value, misses, label, colour, f"{target.target}: {misses:.1%} missed"))
        if target.size_bytes:
            sizes.append(Point(target.size_bytes / 1e6, misses, label, colour, f"{target.target}: {misses:.1%} missed"))
    said = f"Share missed: {title(quality).lower()}"
    shown = [("Time against quality", times, "Seconds an answer"), ("Size against quality", sizes, "Size, MB")]
    return [(title, scatter(points, x, said)) for title, points, x in shown if points]
