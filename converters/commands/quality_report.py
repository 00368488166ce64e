"""`python -m converters quality-report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..reporting import leave_with_parent, reporting

if TYPE_CHECKING:
    from ..report.figures import Report

EXAMPLE = "python -m converters quality-report model-F16.gguf model-Q4_K_M.gguf ./model-onnx --html report.html"


def command(
    artifacts: Annotated[list[str], typer.Argument(metavar="ARTIFACT...", help="Names, GGUF files, ONNX folders.")],
    reference: Annotated[str | None, typer.Option(help="What they are compared with; default: the first.")] = None,
    data: Annotated[Path | None, typer.Option(help="A text in UTF-8; default: a bundled one.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots as well.")] = None,
    tasks: Annotated[str | None, typer.Option(metavar="NAMES", help="Tasks of lm-eval, separated by commas.")] = None,
    tasks_dir: Annotated[Path | None, typer.Option(help="The folder with the tasks' YAML files.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each task; default: all.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where models with names are kept.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each engine; default: all cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    with_stdin: Annotated[bool, typer.Option("--with-stdin", help="End when stdin does.")] = False,
) -> None:
    """Measure artifacts side by side: quality, size, memory and speed. A GGUF reference is computed in float32."""
    if with_stdin:
        leave_with_parent()
    with reporting(as_json=False) as reporter:
        from server.hardware.cpu import usable_cores
        from server.models.files import storage_errors, write_atomically
        from server.settings import Settings

        from ..report import measure, page, text
        from ..report import tasks as task_scores
        from ..report.artifacts import Finder

        folder = None if tasks is None else task_scores.checked_folder(tasks_dir)
        words = text.read(data)
        finder = Finder(Settings() if home is None else Settings(home=home))
        subjects = finder.find(artifacts)
        against = subjects[0] if reference is None else finder.subject(reference)
        plan = measure.Plan(subjects, against, words, threads or usable_cores())
        found = measure.report(plan, lambda fraction, doing: reporter.step(fraction, doing, "measuring"))
        if tasks is not None and folder is not None:
            found = task_scores.with_tasks(found, subjects, tasks, folder, limit)
        if html is not None:
            with storage_errors(html.parent):
                write_atomically(html, page.render(found))
    _say(found, as_json=as_json)


def _say(found: "Report", *, as_json: bool) -> None:
    """What was measured, on stdout. Exit status 1 where something could not be."""
    from rich.console import Console

    from ..report import table

    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        console = Console()
        table.show(found, console if console.is_terminal else Console(width=table.COLUMNS))
    if found.failed:
        raise typer.Exit(1)
