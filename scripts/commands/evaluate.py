"""`python -m scripts evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..reporting import reporting

if TYPE_CHECKING:
    from ..evaluation.found import Evaluation

EXAMPLE = "python -m scripts evaluate http://127.0.0.1:8000/v1#smollm2 ./tuned/model --data ./data --out ./evaluation"
KINDS = "URL#MODEL, GGUF file, ONNX folder, model, checkpoint, adapter, BASE+ADAPTER. First the base."
Targets = Annotated[list[str], typer.Argument(metavar="TARGET...", help=KINDS)]
Schema = Annotated[Path | None, typer.Option(metavar="FILE", help="JSON Schema that answers have to follow.")]
JsonMode = Annotated[
    bool, typer.Option("--json-mode", help="Servers hold answers to JSON, and to the schema if given.")
]
Key = Annotated[Path | None, typer.Option(metavar="FILE", help="Holds the key of the URL's server.")]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Answers, evaluation.json and .html; resumes there.")]
METRICS = "exact,exact_spaces,exact_json,json_valid"


def command(
    targets: Targets,
    data: Annotated[Path, typer.Option(help="A data folder (its test.jsonl), or a file of examples.")],
    metrics: Annotated[str, typer.Option(help="Names with commas; a wrong one lists them.")] = METRICS,
    field: Annotated[str | None, typer.Option(help="Classes are this field of answers that are JSON.")] = None,
    schema: Schema = None,
    json_mode: JsonMode = False,
    api_key_file: Key = None,
    out: Out = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Prompts at the same time in PyTorch.")] = 8,
    timed: Annotated[int, typer.Option(min=0, help="Examples asked one by one, for their time.")] = 20,
    tasks: Annotated[str | None, typer.Option(metavar="NAMES", help="Tasks of lm-eval as well, with commas.")] = None,
    tasks_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the tasks' YAML files are.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many examples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Measure models on examples, with 95 % intervals, and compare them with the first."""
    told = {"targets": targets, "data": data, "metrics": _named(metrics, schema), "field": field, "out": out}
    told |= {"schema_file": schema, "json_mode": json_mode, "api_key_file": api_key_file, "max_tokens": max_tokens}
    told |= {"concurrency": concurrency, "batch": batch, "timed": timed, "limit": limit}
    told |= {"tasks": tuple(filter(None, (tasks or "").split(","))), "tasks_dir": tasks_dir}
    with reporting(as_json=as_json) as reporter:
        from ..evaluation.evaluate import evaluate
        from ..evaluation.order import Order

        found = evaluate(Order.model_validate(told), reporter)
    _say(found, out, as_json=as_json)


def _named(metrics: str, schema: Path | None) -> tuple[str, ...]:
    """The metrics; whoever gives a schema wants to know who keeps it."""
    names = tuple(filter(None, metrics.split(",")))
    return (*names, "json_schema") if schema is not None and "json_schema" not in names else names


def _say(found: "Evaluation", out: Path | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(found.model_dump_json())
        return
    from ..evaluation.table import show

    show(found)
    if out is not None:
        typer.echo(f"The report is {out / 'evaluation.html'}.")
