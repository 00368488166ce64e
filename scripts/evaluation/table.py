"""The evaluation on a terminal."""

from rich.console import Console
from rich.table import Table

from .case_study import rows, title
from .found import Evaluation
from .page import notes


def show(evaluation: Evaluation) -> None:
    """The case study, the tests, and what was not measured."""
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    for name in ("", *(target.target for target in evaluation.targets)):
        table.add_column(name, overflow="fold")
    for row in rows(evaluation):
        table.add_row(row.title, *row.cells)
    console.print(table)
    for one in evaluation.comparisons:
        span = f"[{one.low:+.4g}, {one.high:+.4g}]"
        console.print(
            f"{one.target}: {title(one.metric)} {one.difference:+.4g} {span}, p={one.p_value:.4f} ({one.test})"
        )
    for note in notes(evaluation):
        console.print(note)
