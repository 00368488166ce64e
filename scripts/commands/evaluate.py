"""`python -m scripts evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from ..reporting import reporting

EXAMPLE = "python -m scripts evaluate http://127.0.0.1:8000/v1#smollm2 --data ./data --metrics exact,exact_json"


def command(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="URL#MODEL; the first is compared with.")],
    data: Annotated[Path, typer.Option(help="A data folder (its test.jsonl), or a file of examples.")],
    metrics: Annotated[str, typer.Option(help="Names with commas.")] = "exact,exact_spaces,exact_json,json_valid",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Measure served models on examples, with 95 % intervals, and compare them with the first."""
    with reporting(as_json=as_json) as reporter:
        from ..evaluation.evaluate import evaluate
        from ..evaluation.order import Order

        names = tuple(filter(None, metrics.split(",")))
        order = Order(targets=tuple(targets), data=data, metrics=names, max_tokens=max_tokens, concurrency=concurrency)
        found = evaluate(order, reporter)
    if as_json:
        typer.echo(found.model_dump_json())
        return
    for target, figures in found.targets.items():
        typer.echo(target)
        for name, figure in figures.items():
            typer.echo(f"  {name:<16} {figure.value:.4f}  [{figure.low:.4f}, {figure.high:.4f}]  n={figure.n}")
    for one in found.comparisons:
        span = f"[{one.low:+.4f}, {one.high:+.4f}]"
        typer.echo(f"{one.target}: {one.metric} {one.difference:+.4f} {span}, p={one.p_value:.4f} ({one.test})")
