"""`python -m scripts teach`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.errors import InvalidValue

from ..reporting import reporting

if TYPE_CHECKING:
    from ..teaching.report import Report

EXAMPLE = "python -m scripts teach inputs.jsonl -o answers.jsonl --task qa --teacher http://127.0.0.1:5272/v1#smollm2"
PRICE = "--price"


def command(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.jsonl", help="Examples.", dir_okay=False)],
    prompts: Annotated[Path | None, typer.Argument(metavar="INPUTS.jsonl", dir_okay=False)] = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="All of this in a file.")] = None,
    task: Annotated[str | None, typer.Option(help="A name (nli, qa, ...), or the path of a YAML file.")] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(metavar="URL#MODEL", help="own#MODEL: served by us. Repeat it for a vote.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Answers of each teacher to each prompt. Default: 1")] = None,
    agreement: Annotated[float | None, typer.Option(help="Share of samples that have to agree. Default: 0")] = None,
    generate: Annotated[int | None, typer.Option(metavar="N", help="Let the teacher write N new inputs first.")] = None,
    judge: Annotated[str | None, typer.Option(metavar="URL#MODEL", help="Who grades the answers, from 1 to 5.")] = None,
    judge_threshold: Annotated[int | None, typer.Option(help="The lowest grade that is kept. Default: 4")] = None,
    temperature: Annotated[float | None, typer.Option(help="Default: 0.7")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Default: 256")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once. Default: 4")] = None,
    price: Annotated[
        str | None, typer.Option(PRICE, metavar="IN,OUT", help="Of a million tokens of prompts, and of answers.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="A file with the key of the teachers' server.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, as it goes.")] = False,
) -> None:
    """Let teachers answer inputs, and keep what passes. Killed, the same command goes on where it was."""
    with reporting(as_json=as_json) as reporter:
        from ..recipe import assigned
        from ..teaching.order import load
        from ..teaching.teach import teach

        given: dict[str, Any] = {"prompts": prompts and str(prompts), "task": task, "teachers": teacher or None}
        given |= {"samples": samples, "agreement": agreement, "generate": generate, "temperature": temperature}
        given |= {"max_tokens": max_tokens, "concurrency": concurrency, "price": price and _prices(price)}
        given |= {"api_key_file": api_key_file and str(api_key_file), "judge": _judge(judge, judge_threshold)}
        report = teach(load(recipe, assigned(changes or [], given)), output, reporter)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _say(report, output)


def _judge(teacher: str | None, threshold: int | None) -> dict[str, Any] | None:
    given = {"teacher": teacher, "threshold": threshold}
    return {name: value for name, value in given.items() if value is not None} or None


def _prices(price: str) -> list[str]:
    found = price.split(",")
    if len(found) != 2:
        raise InvalidValue(f"{PRICE} takes IN,OUT, such as 0.15,0.60, and not '{price}'.")
    return found


def _say(report: "Report", out: Path) -> None:
    made = f" ({report.generated} of them new)" if report.generated else ""
    typer.echo(f"{out}: {report.examples} examples; {report.accepted} of {report.prompts} inputs{made} were answered.")
    runs = f" in {report.runs} runs" if report.runs > 1 else ""
    cost = "" if report.cost is None else f", cost {report.cost:,.4f}"
    tokens = f"{report.prompt_tokens:,} + {report.completion_tokens:,} tokens"
    typer.echo(f"{report.requests} requests now; {tokens} and {report.seconds:,.1f} s{runs}{cost}.")
    table = Table("Teacher", "Requests", "Accepted", "Rejected", "Tokens", "Tokens/s", "Cost")
    for column in (*table.columns[1:3], *table.columns[4:]):
        column.justify = "right"
    for name, one in report.teachers.items():
        rejected = "\n".join(f"{count} {reason}" for reason, count in one.rejected.items())
        tokens = f"{one.prompt_tokens + one.completion_tokens:,}"
        cost = "" if one.cost is None else f"{one.cost:,.4f}"
        row = [str(one.requests), str(one.accepted), rejected, tokens, f"{one.tokens_per_second:,.1f}", cost]
        table.add_row(escape(name), *row)
    Console().print(table)
